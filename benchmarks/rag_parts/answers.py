"""Each question asked of every arm in turn: right, known, cited, and what it cost; then a second question behind it.

The second question is the next one about the same paragraph. Ours gets it with the turn before it (`Answer.turn`); the
book's chain has no history and gets it alone. `evaluated` of the peer is what does not begin its prompt before, which
is how llama-cpp-python reuses its cache.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from common import settings
from rag_parts.normans import Question, load, read, retriever

from phireside.agents.scenarios.interval import wilson
from phireside.chains.rag import Answer, exact_match, rag_chain, token_f1
from phireside.chains.rag.answer import CITATION
from phireside.chains.rag.words import short_answer
from phireside.models import ChatGGUF

BOOK = """Relevant information:
{context}

Provide a concise answer the following question using the relevant information provided above:
{question}"""


@dataclass(frozen=True)
class Told:
    """What came back, and what it cost.

    Attributes:
        text: the answer.
        short: what is compared with the known answers.
        known: whether it says that it knows.
        cited: numbers in the text.
        invalid: those of them that name no passage.
        right: citations of a passage that holds a known answer.
        seconds, evaluated: of the first question.
        later_seconds, later_evaluated, later_new: of the one behind it; new = what its prompt has more.
    """

    text: str
    short: str
    known: bool
    cited: int = 0
    invalid: int = 0
    right: int = 0
    seconds: float = 0.0
    evaluated: int = 0
    later_seconds: float = 0.0
    later_evaluated: int = 0
    later_new: int = 0


Arm = Callable[[Question, str], Told]  # the question, and the text of the one behind it


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Ask all arms, print a line for each."""
    paragraphs, questions = load(options)
    _, every = read(options.data)
    found = retriever(paragraphs, 5)
    print(_found(found, questions), flush=True)
    source = retriever(paragraphs, options.passages)
    arms = {name: _arm(name, source, options) for name in options.arms}
    told: dict[str, list[Told]] = {name: [] for name in arms}
    for number, question in enumerate(questions):
        behind = _next(question, every)
        names = list(arms)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            told[name].append(arms[name](question, behind))
    for name, rows in told.items():
        print(line(name, questions, rows), flush=True)
    return {name: [asdict(row) for row in rows] for name, rows in told.items()}


def _next(question: Question, every: list[Question]) -> str:
    """The question behind this one about its paragraph; behind the last one the first."""
    same = [each for each in every if each.paragraph == question.paragraph]
    return same[(same.index(question) + 1) % len(same)].text


def _found(source: Any, questions: list[Question]) -> str:
    hits = [[each.id for each in source.invoke(question.text)] for question in questions if question.known]
    right = [f"p{question.paragraph}" for question in questions if question.known]
    shares = {k: sum(gold in ids[:k] for gold, ids in zip(right, hits, strict=True)) for k in (1, 5)}
    return f"passage found: at 1 {share(shares[1], len(right))}, at 5 {share(shares[5], len(right))}"


def share(count: int, total: int) -> str:
    """A share with its 95 % interval."""
    if not total:
        return "-"
    low, high = wilson(count, total)
    return f"{count}/{total} = {count / total:.1%} ({low:.1%}-{high:.1%})"


def line(name: str, questions: list[Question], rows: list[Told]) -> str:
    """The figures of an arm."""
    pairs = list(zip(questions, rows, strict=True))
    known = [(question, row) for question, row in pairs if question.known]
    unknown = [row for question, row in pairs if not question.known]
    exact = [exact_match(row.short, question.known) for question, row in known]
    whole = [token_f1(CITATION.sub("", row.text), question.known) for question, row in known]
    short = [token_f1(row.short, question.known) for question, row in known]
    cited, invalid = sum(row.cited for _, row in known), sum(row.invalid for row in rows)
    count = max(1, len(rows))
    seconds, later = (sum(getattr(row, each) for row in rows) / count for each in ("seconds", "later_seconds"))
    return (
        f"{name}: exact match {mean(exact):.3f}, F1 {mean(short):.3f} (of the whole text {mean(whole):.3f}); "
        f"I don't know: {share(sum(not row.known for row in unknown), len(unknown))} of those without an answer, "
        f"{share(sum(not row.known for _, row in known), len(known))} of those with one; "
        f"citations right {share(sum(row.right for _, row in known), cited)}, invalid {invalid}; "
        f"first {seconds:.2f} s, second {later:.2f} s{_evaluated(rows)}"
    )


def _evaluated(rows: list[Told]) -> str:
    """Tokens evaluated; scores, by which words are chosen, do not say."""
    if not all(row.evaluated for row in rows):
        return ""
    first, later = (mean([float(getattr(row, each)) for row in rows]) for each in ("evaluated", "later_evaluated"))
    within = sum(row.later_evaluated <= row.later_new + 8 for row in rows)
    return f"; tokens evaluated {first:.0f} and {later:.0f}, at most new + 8 in {within} of {len(rows)}"


def mean(values: list[float]) -> float:
    """The average; 0 of none."""
    return sum(values) / max(1, len(values))


def _arm(name: str, source: Any, options: argparse.Namespace) -> Arm:
    return _book(source, options) if name == "book" else _ours(name, source, options)


def _ours(form: str, source: Any, options: argparse.Namespace) -> Arm:
    model = ChatGGUF(model=options.model, settings=settings(options), temperature=0)
    how: dict[str, Any] = {"answer": form, "passages": options.passages, "max_tokens": options.max_tokens}
    chain = rag_chain(model, source, sentences=1, **how)

    def ask(question: Question, behind: str) -> Told:
        began = time.perf_counter()
        first: Answer = chain.invoke(question.text)
        told = _told(first, question, time.perf_counter() - began)
        began = time.perf_counter()
        later: Answer = chain.invoke({"question": behind, "history": list(first.turn or ())})
        told = replace(told, later_seconds=time.perf_counter() - began)
        if form == "words":
            return told
        known = first.cost.prompt_tokens + (first.cost.generated_tokens if first.known else 0)  # or the draft is gone
        figures = {"evaluated": first.cost.evaluated_tokens, "later_evaluated": later.cost.evaluated_tokens}
        return replace(told, later_new=later.cost.prompt_tokens - known, **figures)

    return ask


def _told(answer: Answer, question: Question, seconds: float) -> Told:
    cited = [int(number) for number in CITATION.findall(answer.text)]
    good = [number for number in cited if number <= len(answer.passages)]
    texts = [answer.passages[number - 1].page_content for number in good]
    right = sum(any(known in text for known in question.known) for text in texts)
    short = answer.short if answer.known else ""
    return Told(answer.text, short, answer.known, len(cited), len(cited) - len(good), right, seconds)


def _book(source: Any, options: argparse.Namespace) -> Arm:
    """`RetrievalQA` with chain type "stuff" as in the book, its prompt within the model's own markers."""
    from langchain_classic.chains import RetrievalQA
    from langchain_community.llms import LlamaCpp
    from langchain_core.prompts import PromptTemplate
    from llama_cpp.llama_chat_format import Jinja2ChatFormatter

    threads = {"n_threads": options.threads, "n_batch": options.n_batch, "n_ctx": options.n_ctx}
    model = LlamaCpp(
        model_path=str(options.path), max_tokens=options.max_tokens, temperature=0, seed=42, verbose=False, **threads
    )
    source_template = model.client.metadata["tokenizer.chat_template"]
    markers = Jinja2ChatFormatter(template=source_template, bos_token="", eos_token="")
    prompt = PromptTemplate.from_template(markers(messages=[{"role": "user", "content": BOOK}]).prompt)
    chain = RetrievalQA.from_chain_type(
        llm=model, chain_type="stuff", retriever=source, chain_type_kwargs={"prompt": prompt}
    )
    before: list[int] = []

    def evaluated(question: str) -> int:
        """What does not begin the last prompt."""
        context = "\n\n".join(each.page_content for each in source.invoke(question))
        tokens = model.client.tokenize(prompt.format(context=context, question=question).encode(), special=True)
        same = next((at for at, (a, b) in enumerate(zip(tokens, before, strict=False)) if a != b), len(before))
        before[:] = tokens
        return len(tokens) - min(same, len(tokens))

    def timed(question: str) -> tuple[str, float]:
        began = time.perf_counter()
        text = chain.invoke({"query": question})["result"].strip()
        return text, time.perf_counter() - began

    def ask(question: Question, behind: str) -> Told:
        read = evaluated(question.text)
        text, seconds = timed(question.text)
        passages = [each.page_content for each in source.invoke(question.text)]
        short = short_answer(text, question.text, passages) or text  # as ours: it gains by it
        later_read = evaluated(behind)
        _, later = timed(behind)
        cited = [int(number) for number in CITATION.findall(text)]
        known = not any(
            each in text.lower() for each in ("don't know", "do not know", "not provided", "no information")
        )
        return Told(
            text, short, known, len(cited), sum(number > len(passages) for number in cited), 0, seconds, read, later,
            later_read, later_read,
        )  # fmt: skip

    return ask
