"""Word problems with the calculations that answer them, for prompts. Written for this; none is of a collection.

The last one counts most: a small model likes to do again what it has just done. The order is the best of a few that
were tried on SmolLM2-135M (docs/agents.md).
"""

WORKED: tuple[tuple[str, str], ...] = (
    ("Tom has 12 pencils. His sister gives him 7 more. How many pencils does Tom have now?", "12 + 7"),
    ("A shop had 45 lamps and sold 18 of them. How many lamps are left?", "45 - 18"),
    ("There are 6 boxes with 8 pens in each box. How many pens are there in all?", "6 * 8"),
    ("Mia shares 24 sweets equally among 4 friends. How many sweets does each friend get?", "24 / 4"),
    (
        "Ben ran 9 miles on Monday and 14 miles on Tuesday. How many more miles did he run on Tuesday than on Monday?",
        "14 - 9",
    ),
    ("After Lea spent 15 dollars she had 32 dollars left. How much money did she have at first?", "15 + 32"),
    ("A farmer has 20 hens and 56 eggs. Each carton holds 7 eggs. How many cartons does he need?", "56 / 7"),
    ("A ticket costs 13 dollars and a drink costs 4 dollars. How much do 5 tickets cost?", "13 * 5"),
    ("There were 63 birds on a tree. Some of them flew away and 27 stayed. How many birds flew away?", "63 - 27"),
    ("Nina has 5 cats, 3 dogs and 11 fish. How many fewer dogs than fish does she have?", "11 - 3"),
    (
        "Omar read 16 pages in the morning, 9 pages at noon and 21 pages in the evening. "
        "How many pages did he read in the morning and in the evening?",
        "16 + 21",
    ),
    ("30 children and 2 teachers are in a room with 5 tables. How many children sit at each table?", "30 / 5"),
    ("Each bag has 9 apples and 4 pears. There are 12 bags. How many apples are there?", "9 * 12"),
    (
        "Kim had 38 plums. She ate 5 of them and her brother ate 8 of them. "
        "How many more plums did her brother eat than Kim?",
        "8 - 5",
    ),
    ("Jo had 20 marbles. She lost 6 marbles and found 9 new ones. How many marbles does she have now?", "20 - 6 + 9"),
    (
        "Sam had 25 stamps. His aunt gave him some more and now he has 60 stamps. "
        "How many stamps did his aunt give him?",
        "60 - 25",
    ),
)
