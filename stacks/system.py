"""Which stacks there are, in the order of their deployment, and what each takes from those before it."""

from dataclasses import dataclass

import aws_cdk as cdk

from stacks.access import AccessStack
from stacks.acknowledged import acknowledge
from stacks.archive import ArchiveStack
from stacks.certificates import check_certificates
from stacks.database import DatabaseStack
from stacks.database_functions import Ledger
from stacks.deployment import DeploymentStack
from stacks.edge import EdgeStack
from stacks.environment import Environment
from stacks.functions import FunctionsStack
from stacks.keys import KeysStack
from stacks.monitoring import MonitoringStack, Watched
from stacks.network import NetworkStack
from stacks.rotation import RotationStack
from stacks.schedules import SchedulesStack


@dataclass(frozen=True, kw_only=True)
class System:
    keys: KeysStack
    network: NetworkStack
    database: DatabaseStack
    archive: ArchiveStack
    deployment: DeploymentStack
    functions: FunctionsStack
    edge: EdgeStack
    schedules: SchedulesStack
    monitoring: MonitoringStack
    access: AccessStack


def build_system(app: cdk.App, environment: Environment, deployment_id: str) -> System:
    check_certificates(environment)
    keys = KeysStack(app, environment)
    network = NetworkStack(app, environment, keys.key)
    database = DatabaseStack(app, environment, network, keys.key)
    archive = ArchiveStack(app, environment, keys.key)
    ledger = Ledger(database=database, archive=archive)
    deployment = DeploymentStack(app, environment, network, ledger, deployment_id)
    functions = FunctionsStack(app, environment, network, ledger)
    # The schema and the rows are there before the code that needs them; when they fail, that code stays away.
    functions.add_stack_dependency(deployment)
    if environment.rotate_master_days:
        RotationStack(app, environment, network, database)
    edge = EdgeStack(app, environment, functions.loader.function, keys.key)
    schedules = SchedulesStack(app, environment, functions.loader.function, deployment.deploy.function)
    watched = Watched(
        database=database,
        loader=functions.loader,
        migration=functions.migration,
        deploy=deployment.deploy,
        undelivered=schedules.undelivered,
        api=edge.api,
    )
    monitoring = MonitoringStack(app, environment, watched, keys.key)
    access = AccessStack(app, environment)
    acknowledge(app, environment)
    return System(
        keys=keys,
        network=network,
        database=database,
        archive=archive,
        deployment=deployment,
        functions=functions,
        edge=edge,
        schedules=schedules,
        monitoring=monitoring,
        access=access,
    )
