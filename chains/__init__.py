"""Chains: prompts and models put together, as parts for other programs. Each is a LangChain `Runnable`.

Knows models, memories and retrieval; knows nothing of tools, agents and pages. Each name is imported when it is first
asked for, so that a program pays for what it uses only.
"""

from typing import TYPE_CHECKING

from phireside.lazy import lazy

if TYPE_CHECKING:
    from phireside.chains.chain import Growing
    from phireside.chains.chain_of_thought import chain_of_thought
    from phireside.chains.chat import Chat
    from phireside.chains.choose import YesNo, choose, yes_no
    from phireside.chains.classify import Classified, classify
    from phireside.chains.cost import Cost, CostHandler
    from phireside.chains.extract import Extracted, extract
    from phireside.chains.forms import Decoded, Form, ask
    from phireside.chains.gallery import Entry, gallery
    from phireside.chains.long_text import Reduced, map_reduce, summarize
    from phireside.chains.matching import Matched, matching
    from phireside.chains.paths import Path, Reasoned
    from phireside.chains.pitch import pitch_chain
    from phireside.chains.prompt import Examples, Prompt
    from phireside.chains.prompt_files import prompts_text
    from phireside.chains.rag import Answer, Claim, Sample, judge_answers, pinned, rag_chain
    from phireside.chains.sampling_view import ExplainedSampling, explain_sampling
    from phireside.chains.self_consistency import self_consistency
    from phireside.chains.sequential import Link, parallel_merge, sequential
    from phireside.chains.shopping import shopping_chain
    from phireside.chains.story import story_chain
    from phireside.chains.tree_of_thought import three_experts, tree_of_thought
    from phireside.chains.turn import Answerer, Turn
    from phireside.chains.validated import Rule, Validated, validated
else:
    __getattr__ = lazy(
        __name__,
        {
            "Prompt": "prompt",
            "Examples": "prompt",
            "Link": "sequential",
            "sequential": "sequential",
            "parallel_merge": "sequential",
            "Rule": "validated",
            "Validated": "validated",
            "validated": "validated",
            "story_chain": "story",
            "pitch_chain": "pitch",
            "shopping_chain": "shopping",
            "Entry": "gallery",
            "gallery": "gallery",
            "CostHandler": "cost",
            "chain_of_thought": "chain_of_thought",
            "Path": "paths",
            "Reasoned": "paths",
            "self_consistency": "self_consistency",
            "three_experts": "tree_of_thought",
            "tree_of_thought": "tree_of_thought",
            "Classified": "classify",
            "classify": "classify",
            "YesNo": "choose",
            "choose": "choose",
            "yes_no": "choose",
            "Extracted": "extract",
            "extract": "extract",
            "Decoded": "forms",
            "Form": "forms",
            "ask": "forms",
            "Reduced": "long_text",
            "map_reduce": "long_text",
            "summarize": "long_text",
            "Matched": "matching",
            "matching": "matching",
            "Chat": "chat",
            "Turn": "turn",
            "Answerer": "turn",
            "Cost": "cost",
            "Growing": "chain",
            "prompts_text": "prompt_files",
            "rag_chain": "rag",
            "pinned": "rag",
            "judge_answers": "rag",
            "Sample": "rag",
            "Answer": "rag",
            "Claim": "rag",
            "ExplainedSampling": "sampling_view",
            "explain_sampling": "sampling_view",
        },
    )


__all__ = [
    "Prompt", "Examples", "Link", "sequential", "parallel_merge", "Rule", "Validated", "validated",
    "story_chain", "pitch_chain", "shopping_chain", "Entry", "gallery", "CostHandler",
    "chain_of_thought", "Path", "Reasoned", "self_consistency", "three_experts", "tree_of_thought", "Chat", "Turn",
    "Answerer", "Cost", "Growing", "prompts_text", "ExplainedSampling", "explain_sampling",
    "extract", "Extracted", "classify", "Classified", "yes_no", "YesNo", "choose", "matching", "Matched",
    "rag_chain", "pinned", "Answer", "Claim", "judge_answers", "Sample",
    "map_reduce", "summarize", "Reduced", "Form", "Decoded", "ask",
]  # fmt: skip
