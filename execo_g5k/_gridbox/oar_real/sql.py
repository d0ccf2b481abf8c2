"""What a site tells the database of its OAR, and asks it.  Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

OARS_OWN = frozenset({
    "resource_id", "type", "network_address", "state", "next_state", "finaud_decision", "next_finaud_decision", "state_num",
    "suspended_jobs", "scheduler_priority", "cpuset", "besteffort", "deploy", "expiry_date", "desktop_computing", "last_job_date",
    "available_upto", "last_available_upto", "drain"})
"""Columns that the table of resources has from the beginning."""

# Grid'5000's own types of jobs; and no limit of two waiting reservations for each user.
RULES = """
UPDATE admission_rules SET rule = replace(rule, 'qr/^idempotent$/,',
    'qr/^idempotent$/, qr/^allow_classic_ssh$/, qr/^origin=[a-z]+$/, qr/^(?:day|night|exotic|destructive|maintenance)$/,
    qr/^monitor(?:=.*)?$/,') WHERE id = 16;
UPDATE admission_rules SET rule = replace(rule, '$r->{property} = "type = ''default''";', '$r->{property} = $kind;') WHERE id = 17;
UPDATE admission_rules SET rule = replace(rule, ') AND type = ''default''";', ') AND $kind";') WHERE id = 17;
UPDATE admission_rules SET rule = replace(rule, 'my $prop = $r->{property};', 'my $prop = $r->{property};
        my $kind = (grep { $_->{resource} =~ /^slash_/ } @{$r->{resources}}) ? "type = ''subnet''" : "type = ''default''";') WHERE id = 17;
UPDATE admission_rules SET enabled = 'NO' WHERE id = 12;
INSERT INTO queues (queue_name, priority, scheduler_policy)
    SELECT name, 2, (SELECT scheduler_policy FROM queues WHERE queue_name = 'default') FROM unnest(ARRAY['production', 'testing']) AS name
    WHERE name NOT IN (SELECT queue_name FROM queues);
"""

EXOTIC = """if (!grep(/^exotic$/, @{$type_list})) {
    $jobproperties = $jobproperties eq "" ? "exotic = ''NO''" : "($jobproperties) AND exotic = ''NO''";
}"""
PRODUCTION = """if ($queue_name eq "default" or $queue_name eq "production") {
    my $wanted = $queue_name eq "production" ? "YES" : "NO";
    my $condition = "(production = ''$wanted'' OR host = '''')";
    $jobproperties = $jobproperties eq "" ? $condition : "($jobproperties) AND $condition";
}"""
MAINTENANCE = """if ($queue_name ne "testing" and !grep(/^(?:allowed=)?maintenance$/, @{$type_list})) {
    $jobproperties = $jobproperties eq "" ? "maintenance = ''NO''" : "($jobproperties) AND maintenance = ''NO''";
}"""


def literal(value: object) -> str:
    """A value in SQL."""
    if value is None:
        return "NULL"
    return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"


def resources_sql(rows: Sequence[Mapping[str, Any]]) -> str:
    """Statements that make these rows the resources of a new database, with Grid'5000's rules about what they have."""
    columns: dict[str, type] = {}
    for row in rows:
        for name, value in row.items():
            if name != "id" and value is not None:
                columns.setdefault(name, int if isinstance(value, int) else str)
    lines = [f"ALTER TABLE resources ADD COLUMN IF NOT EXISTS {name} {'integer' if kind is int else 'varchar(255)'};"
             for name, kind in columns.items() if name not in OARS_OWN]
    names = ["next_state", *columns]
    lines.append(f"INSERT INTO resources ({', '.join(names)}) VALUES")
    lines.append(",\n".join("('UnChanged', " + ", ".join(literal(row.get(name)) for name in columns) + ")" for row in rows) + ";")
    lines.append("SELECT setval('resources_resource_id_seq', (SELECT max(resource_id) FROM resources));")
    lines.append(RULES)
    for column, rule in (("exotic", EXOTIC), ("production", PRODUCTION), ("maintenance", MAINTENANCE)):
        if column in columns:
            lines.append(f"INSERT INTO admission_rules (priority, enabled, rule) VALUES (10, 'YES', '{rule}');")
    return "BEGIN;\n" + "\n".join(lines) + "\nCOMMIT;\n"


JOBS = """
SELECT coalesce(json_agg(job ORDER BY job."Job_Id" DESC), '[]') FROM (
    SELECT j.job_id AS "Job_Id", j.job_user AS owner, j.project, j.job_name AS name, j.queue_name AS queue, j.state,
        j.job_type AS "jobType", j.command, j.launching_directory AS "launchingDirectory", j.properties, j.message, j.exit_code,
        j.submission_time AS "submissionTime",
        j.start_time AS "startTime", j.stop_time AS "stopTime", m.moldable_walltime AS walltime,
        (SELECT g.start_time FROM gantt_jobs_predictions g
            WHERE g.moldable_job_id = m.moldable_id AND j.state NOT IN ('Terminated', 'Error')) AS "scheduledStart",
        coalesce((SELECT json_agg(t.type ORDER BY t.job_type_id) FROM job_types t WHERE t.job_id = j.job_id), '[]') AS types,
        coalesce((
            SELECT json_agg(json_build_object('event_id', e.event_id, 'date', e.date, 'type', e.type, 'description', e.description)
                            ORDER BY e.event_id)
            FROM event_logs e WHERE e.job_id = j.job_id), '[]') AS events,
        coalesce((
            SELECT json_agg(a.resource_id ORDER BY a.resource_id) FROM assigned_resources a WHERE a.moldable_job_id = m.moldable_id), (
            SELECT json_agg(g.resource_id ORDER BY g.resource_id) FROM gantt_jobs_resources g
            WHERE g.moldable_job_id = m.moldable_id), '[]') AS resources
    FROM jobs j LEFT JOIN LATERAL (
        SELECT * FROM moldable_job_descriptions d WHERE d.moldable_job_id = j.job_id AND j.assigned_moldable_job IN (0, d.moldable_id)
        ORDER BY d.moldable_id LIMIT 1) m ON true
) job
"""
"""One JSON text of all jobs, newest first, as `execo_g5k._gridbox.scheduler.fields.job_item` takes them."""

STATES = "SELECT json_object_agg(resource_id, state) FROM resources"
"""One JSON text {resource: state}."""
