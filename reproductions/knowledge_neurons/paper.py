"""The numbers of Dai et al. 2022 (arXiv 2104.08696) that stand beside ours.

A star marks a value recalled from memory and not read again: treat it as approximate. A dagger
marks one that a single secondary source gives. The others stand in several summaries of the paper.
"""

PAPER: dict[str, tuple[str, ...]] = {
    "num_neurons": ("4.13", "3.96*"),
    "intra": ("1.23", "2.85*"),
    "inter": ("0.09", "1.92*"),
    "x0": ("-29.03 %", "-1.47 %"),
    "x2": ("+31.17 %", "-1.27 %"),
    "head-and-tail": ("0.485",),
    "head-only": ("0.019",),
    "random": ("-0.018",),
    "old_answer_gone, forced": ("48.5 %", "4.7 %"),
    "reliability, forced": ("34.4 %", "0.0 %"),
    "same_relation, perplexity": ("+8.4†", "+10.1*"),
    "other_relations, perplexity": ("+7.2", "+4.3†"),
    "erase P19": ("+106.6 %*; +1.1 %*",),
    "erase P27": ("+36.7 %*; +4.2 %*",),
    "erase P106": ("+128.2 %*; +4.3 %*",),
}
