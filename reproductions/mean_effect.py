"""How far do located neurons move an answer, on average? Over bundled facts drawn at random.

    python reproductions/mean_effect.py            # 150 facts of mini-bert, about 2 minutes

For each fact that the model answers rightly at its first prompt and whose paraphrases agree on some
neurons: the relative change of the answer's probability with those neurons at zero and doubled, and
with as many random neurons of the same layers at zero.
"""

import argparse
import random

import numpy as np

import vesalius
from vesalius.data.facts import load_facts, prompts_for
from vesalius.models.encoding import MASK


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini-bert")
    parser.add_argument("--facts", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    specimen = vesalius.open(options.model)
    drawn = random.Random(options.seed).sample(load_facts(), options.facts)
    rows: list[tuple[int, float, float, float]] = []
    for fact in drawn:
        prompts = prompts_for(fact, mask_token=MASK)
        found = vesalius.neurons.locate(specimen, prompts, fact.answer)
        if found.guesses[0].token != fact.answer or not found.neurons:
            continue
        asked = (specimen, prompts, fact.answer, found.neurons)
        down = vesalius.neurons.suppress(*asked, num_controls=3, seed=options.seed)
        up = vesalius.neurons.amplify(*asked, num_controls=0)
        rows.append((len(found.neurons), down.change, down.control_mean, up.change))
    sizes, down, control, up = np.array(rows).T
    print(f"{len(rows)} of {len(drawn)} facts, {sizes.mean():.1f} neurons each")
    print(f"suppressed: mean {down.mean():+.2%}, median {np.median(down):+.2%}")
    print(f"random neurons suppressed: mean {control.mean():+.3%}")
    print(f"doubled: mean {up.mean():+.2%}, median {np.median(up):+.2%}")


if __name__ == "__main__":
    main()
