"""Agents: ReAct over a small model, its policies, and the scenario runner. Empty until issue 6 builds it."""
