"""The places whose text reaches a planner's context, each written by the real thing that writes it there.

A carrier takes texts and gives the tools by which a model reads them, or the conversation that holds them.
"""

from .common import ADA as ADA
from .common import Carrier
from .common import carried_out as carried_out
from .conversation import earlier_replies, other_people, waiting_plans
from .logs import engine_logs, job_logs
from .other_agents import mcp_arguments, mcp_clients
from .recorded import goals, reasons
from .served import endpoint_errors, evaluations, traffic
from .stored import dataset_facts, dataset_rows, file_names, model_cards, report_facts, suite_names

CARRIERS = (
    Carrier("file name", file_names),
    Carrier("suite name", suite_names),
    Carrier("dataset facts", dataset_facts),
    Carrier("dataset row", dataset_rows, few=True),
    Carrier("model card", model_cards),
    Carrier("report facts", report_facts),
    Carrier("evaluation", evaluations, few=True),
    Carrier("endpoint's error", endpoint_errors, few=True),
    Carrier("run's goal", goals, few=True),
    Carrier("denial's reason", reasons, few=True),
    Carrier("job's log", job_logs, few=True),
    Carrier("engine's log", engine_logs, few=True),
    Carrier("traffic", traffic, few=True),
    Carrier("MCP arguments", mcp_arguments, few=True),
    Carrier("MCP client", mcp_clients, few=True),
    Carrier("earlier reply", earlier_replies),
    Carrier("another person", other_people),
    Carrier("waiting plan", waiting_plans),
)
