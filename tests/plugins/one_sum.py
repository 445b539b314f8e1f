"""A scenario with one sum, for tests of what runs scenarios."""

ONE_SUM = """
tools: [calculator]
turns:
  - user: What is 2 + 3?
    expect: [{number: 5}, {tool: calculator}]
    script:
      - {thought: I compute., call: calculator, arguments: {expression: 2 + 3}}
      - {answer: It is 5.}
"""
