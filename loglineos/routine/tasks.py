"""The checkboxes of manual 9.1 to 9.4, in its order and words, and what stands for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from loglineos.routine import access, ledger, logs, recovery, release
from loglineos.routine.task import Task

BEYOND: Final = ""  # not in the manual's list

TASKS: Final[Mapping[str, Sequence[Task]]] = {
    "daily": (
        Task(BEYOND, "Health checks", ledger.health),
        Task("Revisar erros no CloudWatch", "Errors in the logs", partial(logs.errors, days=1)),
        Task("Verificar métricas de execução", "Executions: how many, how fast, how many failed", ledger.executions),
        Task("Monitorar uso de storage RDS", "Storage and connections", ledger.storage),
    ),
    "weekly": (
        Task("Review de logs de erro acumulados", "Errors of the week, by kind", partial(logs.errors, days=7)),
        Task("Verificar crescimento do ledger", "Growth, and when the storage is full", ledger.growth),
        Task("Testar restore de backup", "A backup restored", recovery.drill),
        Task("Atualizar dependências npm (se houver CVEs)", "Known vulnerabilities", release.dependencies),
    ),
    "monthly": (
        Task("Audit de acessos (IAM, DB users)", "Who may do what", access.audit),
        Task("Revisão de políticas ativas", "Active policies and who published them", ledger.policies),
        Task("Limpeza de spans antigos (opcional, com cuidado)", "What could be archived", ledger.old_spans),
        Task("Performance tuning (índices, query plans)", "Indexes, slow statements, bloat", ledger.tuning),
        Task("Atualizar documentação", "Do the documents still say what is so?", release.documents),
    ),
    "quarterly": (
        Task("Disaster recovery drill (restore completo)", "The recovery drill", recovery.recovery),
        Task("Revisão de custos AWS", "What it costs", recovery.costs),
        Task("Atualização de runtime Node.js (se disponível)", "Runtimes", release.runtimes),
        Task("Security audit completo", "Security audit", recovery.security),
    ),
}
