"""The public names of every room are these. A name that goes, or is called otherwise, breaks other people's programs.

A new name belongs in the list; one that is missing belongs back in the code, or into CHANGELOG.md under "Removed".
"""

import importlib
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = {
    "phireside": """
        EngineSettings PhiresideError Settings
    """,
    "phireside.models": """
        Catalog ChatGGUF Engine Grammar ModelEntry ModelInfo NextTokens PRESETS Preset Priority Request
        Sampling SamplingChoice Score StopSignal Usage checked_settings forget_state known_settings
        load_chat_model settings_of unbound
    """,
    "phireside.models.engine": """
        Completion Ended Engine Event Failed Job Priority Request Sampling Score ScoreRequest Scored Sink
        Stage Stats Text Totals Usage Vocabulary build_info clean sampling_stages
    """,
    "phireside.models.dialects": """
        Dialect Native ReAct StreamParser dialect_for
    """,
    "phireside.memory": """
        Budget BufferMemory Compaction Conversation ConversationStore CountTokens Fact FactStore JSON
        MEMORIES Memory MemoryState Selection SummaryBufferMemory SummaryMemory WindowMemory budget_of
        counter_of default_title memory_named statements
    """,
    "phireside.retrieval": """
        Chunk Chunking DocumentInfo Hit HybridRetriever KINDS KnowledgeBase LoadLimits Loaded Report Search
        Section base_folder base_names chunk load_bytes load_file load_page search
    """,
    "phireside.retrieval.loading": """
        KINDS LoadLimits Loaded Section label load_bytes load_file load_page
    """,
    "phireside.retrieval.evaluation": """
        Collection Difference Evaluation MEASURES ROWS RetrievalRun StageChange StageResult advice as_data
        base_of by_source chart check_chunks check_form difference evaluate generated_questions measured
        read_beir read_judged retrieval_runs same_questions save_chart sent_judgments stage_changes table
        worst_questions write_beir
    """,
    "phireside.tools": """
        Found Limits NamedTool Offer TOOLS calculator clock ddgs knowledge make_tools mcp_tools read_file
        read_page searxng web_search
    """,
    "phireside.chains": """
        Answer Answerer Chat Claim Classified Cost CostHandler Decoded Entry Examples ExplainedSampling
        Extracted Form Growing Link Matched Path Prompt Reasoned Reduced Rule Sample Turn Validated YesNo
        ask chain_of_thought choose classify explain_sampling extract gallery judge_answers map_reduce
        matching parallel_merge pinned pitch_chain prompts_text rag_chain self_consistency sequential
        shopping_chain story_chain summarize three_experts tree_of_thought validated yes_no
    """,
    "phireside.chains.rag": """
        Answer AnswersRun AxisChange Claim Judged Pinned RagChain Report Sample Scores answered answers_runs
        axis_changes exact_match judge_answers pinned rag_chain read_samples token_f1
    """,
    "phireside.agents": """
        BoundAnswer ChosenCalculation Limits NumberBinding Step Uses answerer asteps build_agent close_bases
        knowledge_base left_running steps
    """,
    "phireside.agents.scenarios": """
        Case Change Check Comparison LiveRun Options Outcome Run SHIPPED Scenario ScenarioRun StoppedError
        TurnRecord Watched add_file as_scenario compare editor_schema known_models listed load run_cases
        scenario_runs wilson
    """,
    "phireside.api": """
        Options create_app routes
    """,
}


@pytest.mark.parametrize("package", NAMES)
def test_the_public_names_of_a_room_are_those_of_the_list(package: str) -> None:
    room, listed = importlib.import_module(package), NAMES[package].split()
    assert sorted(room.__all__) == listed
    assert [name for name in listed if not hasattr(room, name)] == []


def test_every_room_with_public_names_is_in_the_list() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    rooms = [importlib.import_module(name) for name in packages if name != "phireside.scenarios"]  # it is data only
    found = {room.__name__ for room in rooms if getattr(room, "__all__", None)}
    assert found - {"phireside.cli"} == set(NAMES)  # its public names are its commands
