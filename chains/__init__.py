"""Chains: prompts and models put together. First the chat turn; prompt chains and reasoning follow with issue 5."""

from phireside.chains.turns import Chat, Turn

__all__ = ["Chat", "Turn"]
