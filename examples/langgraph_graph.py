"""A LangGraph graph of Phireside's parts: a question is sorted, then worked out, looked up, or talked about.

    pip install "phireside[starter]"
    python langgraph_graph.py                       # the questions below
    python langgraph_graph.py "When can I move out?"

`classify` chooses the way, `build_agent` works out, `rag_chain` answers from the lease, and the model alone does the
rest. The graph is LangGraph's own: checkpointers, streaming, tracing and sub-graphs are as with any other.
"""

import sys
from typing import TypedDict

from langchain_core.documents import Document
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from phireside.agents import Limits, build_agent
from phireside.chains import classify, pinned, rag_chain
from phireside.models import load_chat_model
from phireside.tools import calculator

QUESTIONS = ["What is 17 * 23?", "How long is the notice of my flat?", "Good morning!"]
LEASE = [
    Document("The lease can be ended with three months' notice.", metadata={"source": "lease, page 2"}),
    Document("The deposit is two monthly rents. It is paid back within 30 days.", metadata={"source": "lease, page 3"}),
]
TOPICS = {
    "arithmetic": "a calculation with numbers",
    "lease": "a question about a rented flat",
    "talk": "small talk",
}
EXAMPLES = [  # the starter needs some
    ("What is 5 + 8?", "arithmetic"),
    ("What is the deposit of my flat?", "lease"),
    ("Hello!", "talk"),
    ("How much is 12 * 4?", "arithmetic"),
    ("When can I end the lease?", "lease"),
    ("Thank you very much.", "talk"),
]


class State(TypedDict, total=False):
    """What goes from node to node."""

    question: str
    topic: str
    answer: str


def build() -> CompiledStateGraph:
    """The graph: {"question": …} in, with "topic" and "answer" out."""
    model = load_chat_model(temperature=0, max_tokens=60)
    sorter = classify(TOPICS, model=model, examples=EXAMPLES)
    agent = build_agent(model, [calculator()], limits=Limits(steps=2))
    lease = rag_chain(model, pinned(LEASE), answer="words")

    def sort(state: State) -> State:
        return {"topic": sorter.invoke(state["question"]).label}

    def work_out(state: State) -> State:
        done = agent.invoke({"messages": [("user", state["question"])]})["messages"]
        results = [message.text for message in done if message.type == "tool"]
        return {"answer": results[-1] if results else done[-1].text}

    def look_up(state: State) -> State:
        found = lease.invoke(state["question"])
        sources = [found.passages[n - 1].metadata["source"] for claim in found.sentences for n in claim.cited]
        return {"answer": f"{found.text} ({', '.join(sources)})"}

    def talk(state: State) -> State:
        return {"answer": model.invoke(state["question"]).text}

    graph = StateGraph(State)
    graph.add_node("sort", sort)
    graph.add_edge(START, "sort")
    graph.add_conditional_edges("sort", lambda state: state["topic"])
    for name, node in {"arithmetic": work_out, "lease": look_up, "talk": talk}.items():
        graph.add_node(name, node)
        graph.add_edge(name, END)
    return graph.compile()


if __name__ == "__main__":
    graph = build()
    for question in sys.argv[1:] or QUESTIONS:
        done = graph.invoke({"question": question})
        print(f"{done['topic']:>10} | {question} | {done['answer']}")
