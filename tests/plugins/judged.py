"""A small collection with judgments, for tests of the evaluation."""

from phireside.retrieval.evaluation import Collection

SMALL = Collection(
    {
        "1": ("Fire", "A campfire needs dry wood and air."),
        "2": ("Ice", "Ice carries a person at ten centimetres of thickness, if it is clear and the lake is quiet."),
        "3": ("", "A boat on the lake needs two oars."),
        "4": ("A title alone", ""),
    },
    {"q1": "dry wood for a campfire", "q2": "a boat with oars", "q3": "how thick is ice"},
    {"q1": {"1": 2, "2": 0}, "q2": {"3": 1}, "q3": {"2": 1, "4": 1}},
)
