"""A bot for a chat service such as Slack: messages of many threads in, answers out, each thread with its own memory.

    pip install "phireside[starter]"
    echo '{"thread": "1", "text": "Hello, I am Ann."}' | python bot_loop.py
    echo '{"thread": "1", "text": "!calc 17 * 23"}' | python bot_loop.py bot.db

A message is a line of JSON on stdin, with the name of its thread; an answer is one on stdout. Put the client of your
chat service in the place of `messages` and `tell`. Threads are answered side by side by one engine, and the messages of
a thread in their order. What begins with `!calc` goes to an agent with a calculator. Conversations are kept in a
database (here `bot.db`), so that a restarted bot goes on where it was.
"""

import asyncio
import json
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage

from phireside.agents import Limits, asteps, build_agent
from phireside.chains import Chat
from phireside.errors import PhiresideError
from phireside.memory import ConversationStore, WindowMemory
from phireside.models import load_chat_model
from phireside.tools import calculator

CALC = "!calc"


class Bot:
    """Answers; see above."""

    def __init__(self, database: str) -> None:
        self.store = ConversationStore(f"sqlite:///{database}")
        self.chat = Chat(self.store, WindowMemory(k=5))
        self.model = load_chat_model(temperature=0, max_tokens=40)
        self.agent = build_agent(self.model, [calculator()], limits=Limits(steps=2))
        self.threads: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # fair: the first who waits is the next

    async def answer(self, thread: str, text: str) -> str:
        """The answer to a message; an error is an answer too."""
        async with self.threads[thread]:
            try:
                conversation = await asyncio.to_thread(self.conversation, thread)
                if text.startswith(CALC):
                    return await self.calculated(conversation, text.removeprefix(CALC).strip())
                return await asyncio.to_thread(self.said, conversation, text)
            except PhiresideError as error:
                return f"Sorry: {error}"

    def conversation(self, thread: str) -> str:
        """The conversation of a thread; a new one for a new thread."""
        title = f"thread {thread}"
        known = [each.id for each in self.store.list(title) if each.title == title]
        return known[0] if known else self.store.create(title).id

    def said(self, conversation: str, text: str) -> str:
        """A chat turn, which `Chat` saves."""
        turn = self.chat.send(conversation, text, model=self.model, system="Answer in one short sentence.")
        while not turn.wait(1):
            pass
        if turn.error:
            raise turn.error
        return turn.text

    async def calculated(self, conversation: str, text: str) -> str:
        """A turn of the agent, with what it did, saved in the same conversation."""
        done = [step async for step in asteps(self.agent, text)]
        worked_out = [step.text for step in done if step.kind == "observation"]
        answer = "\n".join([*worked_out, done[-1].text])
        await asyncio.to_thread(self.store.save_turn, conversation, [HumanMessage(text), AIMessage(answer)])
        return answer

    def close(self) -> None:
        """Save what is being written."""
        self.chat.close()
        self.store.close()


async def messages() -> AsyncIterator[dict[str, Any]]:
    """What comes in. A line that is no message is told, and the bot goes on."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        try:
            message = json.loads(line)
            yield {"thread": str(message["thread"]), "text": str(message["text"])}
        except (ValueError, TypeError, KeyError) as error:
            print(f"Not a message: {line.strip():.80} ({error!r})", file=sys.stderr)


def tell(thread: str, text: str) -> None:
    """Send an answer."""
    print(json.dumps({"thread": thread, "text": text}), flush=True)


async def main() -> None:
    """Answer until the messages end."""
    bot = Bot(sys.argv[1] if len(sys.argv) > 1 else "bot.db")

    async def answer(message: dict[str, Any]) -> None:
        tell(message["thread"], await bot.answer(**message))

    try:
        async with asyncio.TaskGroup() as tasks:
            async for message in messages():
                tasks.create_task(answer(message))
    finally:
        bot.close()


if __name__ == "__main__":
    asyncio.run(main())
