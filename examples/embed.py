"""Customer reviews in, a table for the shop out: three chains of Phireside over the rows of a pandas table.

    pip install "phireside[starter]" pandas
    python embed.py reviews.csv sorted.csv        # reviews.csv has a column "review"
    python embed.py                               # the three reviews below, printed

For each row: is it positive or negative (`classify`), about which product and what (`extract`), in a few words
(`summarize`). The rows run side by side in one engine, in this process; nothing leaves the machine. A row that cannot
be used, such as an empty one, says why in the column "error", and the others are not lost. With another model:
`PHIRESIDE_MODEL=phi-3 python embed.py …`, or `openai:MODEL` for a server.
"""

import sys
from typing import Any

import pandas as pd
from langchain_core.runnables import RunnableParallel
from pydantic import BaseModel, Field

from phireside.chains import classify, extract, summarize
from phireside.models import load_chat_model

REVIEWS = [
    "The kettle boils in two minutes and the handle stays cool. I use it every day and would buy it again.",
    "The lamp arrived with a broken switch, and nobody answers my letters. I want my money back.",
    "Lovely warm blanket, but it lost its colour in the first wash, so my white shirts are pink now.",
]


class Review(BaseModel):
    """What the shop wants to know of a review."""

    product: str = Field(description="what was bought, in one or two words", max_length=40)
    topics: list[str] = Field(description="what the review is about", max_length=3)


def sorted_reviews(reviews: pd.Series) -> pd.DataFrame:
    """The reviews as a table with the columns mood, sure, product, topics, summary and error."""
    model = load_chat_model(temperature=0)
    chain = RunnableParallel(
        mood=classify(["positive", "negative"], model=model),
        facts=extract(Review, model=model),
        summary=summarize(model=model, words=10, max_tokens=40),
    )
    found = chain.batch(reviews.fillna("").tolist(), {"max_concurrency": 8}, return_exceptions=True)
    rows = [{"error": str(each)} if isinstance(each, Exception) else row(each) for each in found]
    columns = ["mood", "sure", "product", "topics", "summary", "error"]
    return pd.concat([reviews, pd.DataFrame(rows, reviews.index, columns, dtype=object).fillna("")], axis=1)


def row(found: dict[str, Any]) -> dict[str, Any]:
    """One row of the table."""
    mood, facts = found["mood"], found["facts"].value
    sure = f"{mood.probabilities[mood.label]:.0%}" if mood.probabilities else ""
    return {
        "mood": mood.label,
        "sure": sure,
        "product": facts.product,
        "topics": ", ".join(facts.topics),
        "summary": found["summary"].text,
    }


if __name__ == "__main__":
    if len(sys.argv) == 3:
        table = sorted_reviews(pd.read_csv(sys.argv[1])["review"])
        table.to_csv(sys.argv[2], index=False)
    else:
        table = sorted_reviews(pd.Series(REVIEWS, name="review"))
        print(table.T.to_string(max_colwidth=60))
