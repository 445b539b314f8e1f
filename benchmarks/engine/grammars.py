"""JSON by schema and ReAct steps: tokens per second, against our own free text (target: 1) and `LlamaGrammar` (2).

Ours decodes under `Grammar` (llguidance) and takes forced tokens without choosing; the peer is a `llama_cpp.Llama`
under `LlamaGrammar`, with the GBNF that llama-cpp-python makes of the same schema, and for a ReAct step with the same
rule around it. Whole calls are timed, the grammar's compilation included, with the prompt in the cache but for its last
token. Greedy. Answers may differ (llama.cpp's GBNF leaves the space after a comma open), so tokens are counted as
written; every answer has to be what was asked for.

    python benchmarks/engine/grammars.py --model starter
    python benchmarks/engine/grammars.py --model /tmp/phi3-shape.gguf
"""

import json
import re
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from rows import Comparison, Run, chat_prompt, conclude, measure, open_engine, open_llama, start, write

if TYPE_CHECKING:
    from phireside.models.engine import Engine
    from phireside.models.grammar import Grammar

TOPICS = ("a harbour", "a mountain village", "an island", "a railway town", "a spa")


def shape(**properties: Any) -> dict[str, Any]:
    """A JSON schema of an object with exactly these properties."""
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def text(limit: int) -> dict[str, Any]:
    """A JSON schema of a text."""
    return {"type": "string", "maxLength": limit}


PLACE = shape(
    name=text(24), kind={"enum": ["bakery", "lighthouse", "market"]}, open={"type": "boolean"}, opinion=text(60)
)
SCHEMA = shape(title=text(40), places={"type": "array", "items": PLACE, "minItems": 3, "maxItems": 3})
TOOLS = {"search": shape(query=text(80)), "table": shape(name=text(40), seats={"enum": [2, 4, 6]})}
STEP = re.compile(r"Thought: [^\n]{1,160}\nAction: (\w+)\nAction Input: (\{.*\})\s*")


def main() -> int:
    """Measure in turns; 1 if a median is below its target or an answer is not what was asked for."""
    options = start(__doc__, n_ctx=2048, tokens=(400, "most tokens of an answer"), free=(120, "tokens of free text"))
    from llama_cpp import LlamaGrammar

    from phireside.models.grammar import Grammar

    with open_engine(options) as engine:
        peer = open_llama(options)
        json_peer = LlamaGrammar.from_json_schema(json.dumps(SCHEMA))
        react_peer = LlamaGrammar.from_string(react_gbnf())
        arms = {
            "free text": partial(ours, engine, json_task, None, options.free),
            "JSON": partial(ours, engine, json_task, Grammar.json(SCHEMA), options.tokens),
            "JSON, LlamaGrammar": partial(theirs, peer, engine, json_task, json_peer, options.tokens),
            "ReAct step": partial(ours, engine, react_task, Grammar.lark(react_lark()), options.tokens),
            "ReAct step, LlamaGrammar": partial(theirs, peer, engine, react_task, react_peer, options.tokens),
        }
        results = measure(options, arms)
    for name in arms:
        print(f"{name:32} tokens written: {[pair[name].tokens for pair in results]}")
    answers = [(name, run.detail) for pair in results for name, run in pair.items()]
    problems = [f"{name}: {answer!r}" for name, answer in answers if not fits(name, answer)]
    comparisons = [
        Comparison(f"{name}, against {against}", name, arm, "tokens/s", target)
        for name in ("JSON", "ReAct step")
        for against, arm, target in (("free text", "free text", 1.0), ("LlamaGrammar", f"{name}, LlamaGrammar", 2.0))
    ]
    return conclude(options, results, comparisons, problems)


def json_task(pair: int) -> str:
    """What is asked for."""
    topic = TOPICS[pair % len(TOPICS)]
    return f"Describe three places of {topic} as JSON: name, kind, whether it is open, and an opinion."


def react_task(pair: int) -> str:
    """What is asked of the agent."""
    return (
        "You have the tools search (query) and table (name, seats). Write a Thought, an Action, an Action Input.\n"
        f"Question: where can six people eat near {TOPICS[pair % len(TOPICS)]}?"
    )


def react_lark() -> str:
    """A ReAct step for llguidance: each tool with its own schema, spaced as `Grammar.json` does."""
    style = {"x-guidance": {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}}
    tools = " | ".join(TOOLS)
    rules = [f'{name}: "{name}\\nAction Input: " %json {json.dumps(schema | style)}' for name, schema in TOOLS.items()]
    return "\n".join([f'start: "Thought: " THOUGHT "\\nAction: " ({tools})', r"THOUGHT: /[^\n]{1,160}/", *rules])


def react_gbnf() -> str:
    """The same step for llama.cpp, with the rules that llama-cpp-python makes of the schemas."""
    from llama_cpp.llama_grammar import SchemaConverter

    converter = SchemaConverter(prop_order={}, allow_fetch=False, dotall=False, raw_pattern=False)
    rules = [f'{name} ::= "{name}\\nAction Input: " {converter.visit(TOOLS[name], f"{name}-input")}' for name in TOOLS]
    root = f'root ::= "Thought: " [^\\n]{{1,160}} "\\nAction: " ({" | ".join(TOOLS)})'
    return "\n".join([root, *rules, converter.format_grammar()])


def ours(engine: "Engine", task: Callable[[int], str], grammar: "Grammar | None", limit: int, pair: int) -> Run:
    """One answer of our engine."""
    from phireside.models.engine import Request, Sampling

    tokens = chat_prompt(engine, task(pair))
    return write(engine, Request(tuple(tokens), Sampling(temperature=0.0), limit, grammar=grammar))


def theirs(llama: Any, engine: "Engine", task: Callable[[int], str], grammar: Any, limit: int, pair: int) -> Run:
    """One answer of the peer to the same tokens."""
    tokens = chat_prompt(engine, task(pair))
    llama(tokens, max_tokens=1, temperature=0.0)  # reads the prompt
    begun = time.perf_counter()
    answer = llama(tokens, max_tokens=limit, temperature=0.0, grammar=grammar)
    return Run(time.perf_counter() - begun, answer["usage"]["completion_tokens"], answer["choices"][0]["text"])


def fits(name: str, answer: str) -> bool:
    """Whether an answer is JSON with the schema's keys, or a step with a tool's."""
    if name == "free text":
        return bool(answer)
    step = STEP.fullmatch(answer) if name.startswith("ReAct") else None
    wanted, source = (TOOLS.get(step[1]), step[2]) if step else (SCHEMA, answer)
    try:
        return wanted is not None and set(json.loads(source)) == set(wanted["properties"])
    except ValueError:
        return False


if __name__ == "__main__":
    sys.exit(main())
