"""The peers of benchmarks/agents.py: LangChain's own agents on langchain-community's llama.cpp models.

Both get a calculator of the same name, description and abilities, whose errors come back as text: an error of ours
would end their run. Temperature 0, and no penalty for repetition, as ours.
"""

import argparse
import re
import time
from collections.abc import Callable
from typing import Any

from agents_parts.asked import Asked
from chat_turns import Counter
from reasoning_parts.shared import peer

from phireside.errors import ToolError
from phireside.tools import calculator

# The prompt of LangChain's hub, hwchase17/react, which the book and LangChain's documentation use.
REACT = """Answer the following questions as best you can. You have access to the following tools:

{tools}

Use the following format:

Question: the input question you must answer
Thought: you should always think about what to do
Action: the action to take, should be one of [{tool_names}]
Action Input: the input to the action
Observation: the result of the action
... (this Thought/Action/Action Input/Observation can repeat N times)
Thought: I now know the final answer
Final Answer: the final answer to the original input question

Begin!

Question: {input}
Thought:{agent_scratchpad}"""
_STOPPED = "Agent stopped due to"  # AgentExecutor's answer at a limit
_REFUSED = "Error: "
_CALL = re.compile(r"<tool_call>|\"name\": ?\"calculator\"|functions?[.:] ?calculator")

Ask = Callable[[str], Asked]


def calculate(expression: str) -> str:
    """What the tool does: ours, with errors as text."""
    try:
        return str(calculator().invoke(expression))
    except ToolError as error:
        return _REFUSED + str(error)


def react(name: str, options: argparse.Namespace) -> Ask:  # noqa: ARG001 (one form for all arms)
    """`create_react_agent` with `AgentExecutor(handle_parsing_errors=True)` on `LlamaCpp`."""
    from engine.rows import llama_options
    from langchain_classic.agents import AgentExecutor, create_react_agent
    from langchain_community.llms import LlamaCpp
    from langchain_core.prompts import PromptTemplate
    from langchain_core.tools import Tool

    common = llama_options(options)
    extra = {key: common.pop(key) for key in ("flash_attn", "n_threads_batch")}
    own = {"rope_freq_base": 0.0, "rope_freq_scale": 0.0, "repeat_penalty": 1.0}  # 0 = the model's
    sampling = {"temperature": 0, "max_tokens": options.max_tokens}
    model = LlamaCpp(model_path=str(options.path), model_kwargs=extra, **common, **own, **sampling)
    tool = Tool(name="calculator", description=calculator().description, func=calculate)
    agent = create_react_agent(model, [tool], PromptTemplate.from_template(REACT))
    executor = AgentExecutor(
        agent=agent,
        tools=[tool],
        handle_parsing_errors=True,
        max_iterations=options.steps,
        return_intermediate_steps=True,
    )
    counter = Counter(model.client)

    def ask(question: str) -> Asked:
        got: dict[str, Any] = {}
        turn = counter.turn(lambda: got.update(executor.invoke({"input": question})))
        return of_executor(got, turn.written, turn.evaluated, turn.seconds)

    return ask


def of_executor(got: dict[str, Any], written: int, evaluated: int, seconds: float) -> Asked:
    """What `AgentExecutor` did. A step that it could not read has the tool "_Exception"; other tools do not exist."""
    taken, ended = got["intermediate_steps"], not got["output"].startswith(_STOPPED)
    ran = [observation for action, observation in taken if action.tool == "calculator"]
    return Asked(
        answer=got["output"] if ended else "",
        observations=[each for each in ran if not each.startswith(_REFUSED)],
        steps=len(taken) + ended,
        malformed=len(taken) - len(ran),
        written=written,
        evaluated=evaluated,
        seconds=seconds,
        ended=ended,
    )


def tool_calling(name: str, options: argparse.Namespace) -> Ask:
    """`create_agent` on `ChatLlamaCpp`, with the GGUF's own template or llama-cpp-python's for calling functions."""
    from langchain.agents import create_agent
    from langchain_core.tools import StructuredTool
    from langgraph.errors import GraphRecursionError

    model = peer(options, temperature=0, max_tokens=options.max_tokens)
    if "chatml-function-calling" in name:
        model.client.chat_format, model.client.chat_handler = "chatml-function-calling", None
    tool = StructuredTool.from_function(calculate, name="calculator", description=calculator().description)
    agent = create_agent(model, [tool])
    counter = Counter(model.client)

    def ask(question: str) -> Asked:
        counter.evaluated = counter.written = 0
        begun, messages, ended = time.perf_counter(), [], True
        try:
            config = {"recursion_limit": 2 * options.steps}
            for state in agent.stream({"messages": [("user", question)]}, config, stream_mode="values"):
                messages = state["messages"]
        except GraphRecursionError:
            ended = False
        return of_messages(messages, counter.written, counter.evaluated, time.perf_counter() - begun, ended=ended)

    return ask


def of_messages(messages: list[Any], written: int, evaluated: int, seconds: float, *, ended: bool) -> Asked:
    """What LangChain's agent did. A call that stands in the text of an answer is a malformed step."""
    said = [message for message in messages if message.type == "ai"]
    last = messages[-1].text if messages and messages[-1].type == "ai" else ""
    results = [message.text for message in messages if message.type == "tool" and message.status != "error"]
    return Asked(
        answer=last,
        observations=[each for each in results if not each.startswith(_REFUSED)],
        steps=len(said),
        malformed=sum(is_malformed(message) for message in said),
        written=written,
        evaluated=evaluated,
        seconds=seconds,
        ended=ended and bool(last.strip()),
    )


def is_malformed(message: Any) -> bool:
    """Whether a step is neither a call of the calculator with an expression nor an answer with some text."""
    if message.tool_calls or message.invalid_tool_calls:
        fits = (call["name"] == "calculator" and list(call["args"]) == ["expression"] for call in message.tool_calls)
        return bool(message.invalid_tool_calls) or not all(fits)
    return not message.text.strip() or bool(_CALL.search(message.text))
