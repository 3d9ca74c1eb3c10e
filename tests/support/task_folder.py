"""A folder with tasks of lm-eval, of each kind, on the phrases of the tiny model."""

from __future__ import annotations

import json
from pathlib import Path

LABELS = ("joy", "fear", "sadness")
PROMPT = "<|user|>\n{{phrase}}<|end|>\n<|assistant|>\n"
HELPERS = '''
def asked(rows):
    """Leave out what is no question."""
    return rows.filter(lambda row: row["phrase"] != "")
'''
COMMON = f"""
dataset_path: json
dataset_kwargs:
  data_files:
    test: rows.jsonl
test_split: test
process_docs: !function helpers.asked
doc_to_text: {json.dumps(PROMPT)}
target_delimiter: ""
"""
CHOICE = """
output_type: multiple_choice
doc_to_choice: ["joy", "fear", "sadness"]
doc_to_target: answer
metric_list:
  - metric: acc
  - metric: acc_norm
"""
TEXT = """
output_type: loglikelihood
doc_to_target: "{{tone}}<|end|>"
metric_list:
  - metric: perplexity
"""
ANSWER = """
output_type: generate_until
doc_to_target: "{{tone}}"
generation_kwargs:
  until: ["\\n"]
  max_gen_toks: 8
metric_list:
  - metric: exact_match
"""
SHOTS = """
fewshot_split: test
fewshot_config:
  sampler: first_n
"""
TASKS = {"choice": CHOICE, "text": TEXT, "answer": ANSWER, "shots": CHOICE + SHOTS}


def write_tasks(folder: Path, rows: list[tuple[str, str]]) -> None:
    """Write the tasks, and the phrases with their tones."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "helpers.py").write_text(HELPERS)
    for name, text in TASKS.items():
        (folder / f"{name}.yaml").write_text(f"task: {name}{COMMON}{text}")
    lines = [
        json.dumps({"phrase": phrase, "tone": tone, "answer": LABELS.index(tone)})
        for phrase, tone in (*rows, ("", "joy"))
    ]
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
