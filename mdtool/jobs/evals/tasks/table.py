"""All tasks, by name."""

from collections.abc import Mapping

from mdtool.jobs.evals.tasks.boxes import BOX_TASKS
from mdtool.jobs.evals.tasks.natural_bench import NATURAL_BENCH
from mdtool.jobs.evals.tasks.points import POINT_TASKS
from mdtool.jobs.evals.tasks.questions import QUESTION_TASKS
from mdtool.jobs.evals.tasks.task import Task

TASKS: Mapping[str, Task] = {task.name: task for task in (*QUESTION_TASKS, NATURAL_BENCH, *BOX_TASKS, *POINT_TASKS)}
