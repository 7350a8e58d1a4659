"""`vesalius calibrate tasks`: the sets that come with templates and label words.

Source: the tables of data/label_tasks.py.
"""

from vesalius.cli.calibrate_flags import TasksFlags
from vesalius.cli.output import emit, emit_json, emit_table


def run_tasks(flags: TasksFlags) -> None:
    """List the sets, or show the templates and notes of one.

    Raises:
        VesaliusError: there is no such set.
    """
    from vesalius.data.label_tasks import find_label_task, label_tasks

    if not flags.task:
        columns = ("task", "classes", "templates", "what", "file", "hub")
        rows = [
            (t.name, t.num_labels, len(t.templates), t.what, t.path or "-", t.hub or "-")
            for t in label_tasks().values()
        ]
        if flags.json:
            emit_json({"tasks": [dict(zip(columns, row, strict=True)) for row in rows]})
        else:
            emit_table(columns, rows)
        return
    task = find_label_task(flags.task)
    if flags.json:
        told = [{"template": t.template, "words": t.words, "instruction": t.instruction}
                for t in task.templates]  # fmt: skip
        emit_json({"task": task.name, "what": task.what, "label_names": task.label_names,
                   "templates": told, "notes": task.notes})  # fmt: skip
        return
    emit(f"{task.name}: {task.what}; classes {', '.join(task.label_names)}")
    rows = [
        (number, repr(each.template)[1:-1], ", ".join(each.words), each.instruction or "-")
        for number, each in enumerate(task.templates)
    ]
    emit_table(("variant", "template", "words", "instruction"), rows)
    for note in task.notes:
        emit(f"note: {note}")
