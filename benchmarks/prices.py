"""What AWS asks for things, and how much of each is in one: assumptions of `benchmarks.capacity_model`.

List prices of us-east-1 in US dollars, on demand, without free tier, as remembered from Amazon's pages (RDS for
PostgreSQL, Aurora, Lambda, API Gateway, S3, Athena, CloudWatch) in November 2026: compare before you decide. Prices and
limits change; only what a figure of the capacity page needs is here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

AS_OF: Final = "2026-11"
HOURS: Final = 730  # of a month
GB: Final = 1e9  # what AWS calls GB is a GiB for storage: 7 % in favour of the reader
TIB: Final = 1024**4


@dataclass(frozen=True)
class InstanceClass:
    """An RDS instance class: vCPUs, GiB of memory, US dollars an hour, share of its vCPUs that it may use all day."""

    name: str
    vcpus: int
    memory_gb: int
    hourly: float
    baseline: float = 1.0

    @property
    def monthly(self) -> float:
        """US dollars a month, in one zone."""
        return self.hourly * HOURS


# Smallest first. What a t4g uses beyond its baseline for long is billed (0.075 a vCPU-hour).
CLASSES: Final = (
    InstanceClass("db.t4g.micro", 2, 1, 0.016, 0.1),
    InstanceClass("db.t4g.small", 2, 2, 0.032, 0.2),
    InstanceClass("db.t4g.medium", 2, 4, 0.065, 0.2),
    InstanceClass("db.t4g.large", 2, 8, 0.129, 0.3),
    InstanceClass("db.r7g.large", 2, 16, 0.239),
    InstanceClass("db.r7g.xlarge", 4, 32, 0.478),
    InstanceClass("db.r7g.2xlarge", 8, 64, 0.956),
    InstanceClass("db.r7g.4xlarge", 16, 128, 1.912),
    InstanceClass("db.r7g.8xlarge", 32, 256, 3.824),
)

GP3_GB: Final = 0.115  # a month, in each zone
BACKUP_GB: Final = 0.095  # beyond the size of the database
S3_GB: Final = 0.023
ATHENA_TB: Final = 5.0  # scanned
LAMBDA_GB_S: Final = 0.0000133334  # arm64
LAMBDA_MILLION: Final = 0.20
API_MILLION: Final = 1.00
LOG_GB: Final = 0.50  # taken in
AURORA_IO_GB: Final = 0.225  # I/O-Optimized, kept in three zones at this one price
AURORA_IO_FACTOR: Final = 1.5  # what an I/O-Optimized instance costs by the same class of RDS

# A month of what is there whether it is used or not, as in docs/deploy.md.
NAT_GATEWAY: Final = 36.6
ENDPOINT: Final = 15.0
KEYS_AND_ALARMS: Final = 4.0
KEYS_AND_ALARMS_MORE: Final = 3.0  # where there is a replica to watch
QUIET_LOGS: Final = 1.7  # logs, flow logs and metrics of a system that nobody uses,
QUIET_LOGS_DAY: Final = 0.023  # and for each day that they are kept

LAMBDA_VCPU_MB: Final = 1769  # of memory buy one vCPU
ACCOUNT_CONCURRENCY: Final = 1000  # of Lambda, until AWS is asked for more
RDS_MAX_BYTES: Final = 64 * TIB
AURORA_MAX_BYTES: Final = 128 * TIB  # of every version; newer ones take more
TABLE_MAX_BYTES: Final = 32 * TIB  # PostgreSQL, pages of 8 kB; for each index the same
FREEZE_AGE: Final = 200_000_000  # transactions: autovacuum_freeze_max_age
GP3_IOPS: Final = 3000
GP3_BYTES_A_SECOND: Final = 125e6
GP3_LARGE_GB: Final = 400  # from here on RDS stripes PostgreSQL's gp3 over several volumes, and gives
GP3_LARGE_IOPS: Final = 12_000
GP3_LARGE_BYTES_A_SECOND: Final = 500e6
