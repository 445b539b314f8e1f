"""A child of app_parts/start.py: loads a model, prints the first token of an answer, and ends.

first_token.py chat|bare FILE N_CTX THREADS N_BATCH SYSTEM QUESTION
"""

import sys


def bare(path: str, n_ctx: int, threads: int, n_batch: int, messages: list[dict[str, str]]) -> str:
    """By llama-cpp-python alone."""
    from llama_cpp import Llama

    sizes = {"n_ctx": n_ctx, "n_batch": n_batch, "n_threads": threads, "n_threads_batch": threads}
    model = Llama(path, **sizes, verbose=False)
    deltas = (chunk["choices"][0]["delta"] for chunk in model.create_chat_completion(messages, stream=True))
    return next(delta["content"] for delta in deltas if delta.get("content"))


def chat(path: str, n_ctx: int, threads: int, n_batch: int, messages: list[dict[str, str]]) -> str:
    """By `ChatGGUF`, with nothing kept on disk."""
    from phireside.models import ChatGGUF
    from phireside.settings import EngineSettings, Settings

    engine = EngineSettings(n_ctx=n_ctx, n_batch=n_batch, n_threads_batch=threads)
    model = ChatGGUF(model=path, settings=Settings(engine=engine))
    return next(chunk.text for chunk in model.stream(messages) if chunk.text)


if __name__ == "__main__":
    how, path, *sizes, system, question = sys.argv[1:]
    messages = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    n_ctx, threads, n_batch = map(int, sizes)
    print(repr({"bare": bare, "chat": chat}[how](path, n_ctx, threads, n_batch, messages)), flush=True)
