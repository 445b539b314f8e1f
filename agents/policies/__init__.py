"""What an agent may do and may not: LangChain middleware, one policy a file.

`phireside.agents.build` puts them in order.
"""
