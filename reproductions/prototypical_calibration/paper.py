"""The paper's numbers that the page quotes: averages of its main table, read in its text."""

# accuracy %, averaged over nine sets; by model and shots: uncalibrated, contextual, prototypical
AVERAGES = {
    "GPT-2-XL": {0: (48.4, 55.2, 62.7), 1: (46.0, 58.6, 66.7), 4: (48.5, 61.5, 68.4),
                 8: (51.4, 60.7, 69.7)},
    "GPT-J": {0: (46.1, 53.4, 61.5), 1: (61.2, 72.2, 75.7), 4: (68.0, 72.9, 77.3),
              8: (74.8, 76.7, 79.4)},
    "Bloom 176B": {0: (53.4, 51.7, 63.9), 1: (70.0, 71.9, 77.3), 4: (71.7, 75.9, 78.5),
                   8: (75.8, 78.4, 80.2)},
}  # fmt: skip
# recomputed from that table, points, over all models and shots
GAIN_OVER_NONE, GAIN_OVER_CONTEXTUAL = 12.2, 6.0
# cells of it in which prototypical is below, of 108
BELOW_NONE, BELOW_CONTEXTUAL, CELLS = 9, 19, 108
# restart by likelihood -> by assignment, shots 0, 1, 4, 8
SELECTION = {
    "agnews": {"GPT-2-XL": ((64.0, 64.6), (65.8, 69.8), (60.1, 67.4), (71.7, 75.5)),
               "GPT-J": ((55.2, 55.1), (79.2, 79.8), (79.7, 79.9), (78.1, 84.2))},
    "dbpedia": {"GPT-2-XL": ((63.8, 73.6), (71.8, 79.9), (76.1, 87.2), (79.3, 89.4)),
                "GPT-J": ((59.2, 66.1), (77.7, 90.0), (82.2, 91.9), (83.8, 95.1))},
}  # fmt: skip
