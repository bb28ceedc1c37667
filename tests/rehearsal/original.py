"""The `aws` commands of the original manual, with the number of the section that each stands in."""

from __future__ import annotations

BOOT = r"""
aws lambda invoke \
  --function-name loglineos-stage0-loader \
  --payload '{"action":"boot","boot_function_id":"KERNEL_ID","input":{...}}' \
  response.json
"""  # 3
ACTIVE_KERNELS = r"""
aws lambda invoke \
  --function-name loglineos-db-migration \
  --payload '{"action":"query","sql":"SELECT id, name, seq, status FROM ledger.visible_timeline WHERE entity_type='\''function'\'' ORDER BY name, seq DESC"}' \
  response.json && cat response.json
"""  # 4.2  # noqa: E501
CURRENT_MANIFEST = r"""
aws lambda invoke \
  --function-name loglineos-db-migration \
  --payload '{"action":"query","sql":"SELECT seq, metadata FROM ledger.visible_timeline WHERE entity_type='\''manifest'\'' ORDER BY seq DESC LIMIT 1"}' \
  response.json && cat response.json
"""  # 4.2  # noqa: E501
SPANS_BY_TYPE = r"""
aws lambda invoke \
  --function-name loglineos-db-migration \
  --payload '{"action":"query","sql":"SELECT entity_type, count(*) FROM ledger.visible_timeline GROUP BY entity_type ORDER BY count DESC"}' \
  response.json && cat response.json
"""  # 4.2  # noqa: E501
REGISTERED_APPS = r"""
aws lambda invoke \
  --function-name loglineos-db-migration \
  --payload '{"action":"query","sql":"SELECT id, metadata->>'\''app_name'\'' as name, metadata->>'\''app_version'\'' as version, at FROM ledger.visible_timeline WHERE entity_type='\''app_registration'\'' ORDER BY at DESC"}' \
  response.json
"""  # 4.3  # noqa: E501
SNAPSHOT = r"""
aws rds create-db-snapshot \
  --db-instance-identifier loglineos-prod \
  --db-snapshot-identifier loglineos-manual-$(date +%Y%m%d-%H%M)
"""  # 6.1
RESTORE = r"""
aws rds restore-db-instance-to-point-in-time \
  --source-db-instance-identifier loglineos-prod \
  --target-db-instance-identifier loglineos-restored \
  --restore-time 2025-01-03T12:00:00Z
"""  # 6.4
CHECK_MANIFEST = r"""
aws lambda invoke --function-name loglineos-db-migration \
  --payload '{"action":"query","sql":"SELECT metadata FROM ledger.visible_timeline WHERE entity_type='\''manifest'\'' ORDER BY seq DESC LIMIT 1"}' \
  response.json
"""  # 8.1  # noqa: E501
KERNEL_EXISTS = r"""
aws lambda invoke --function-name loglineos-db-migration \
  --payload '{"action":"query","sql":"SELECT id, name, seq FROM ledger.visible_timeline WHERE id='\''KERNEL_ID'\''"}' \
  response.json
"""  # 8.1
REACHABLE = r"""
aws lambda get-function --function-name loglineos-stage0-loader > /dev/null 2>&1 && echo "✅" || echo "❌"
"""  # 8.3
CONCURRENCY = r"""
aws lambda put-function-concurrency \
  --function-name loglineos-stage0-loader \
  --reserved-concurrent-executions 100
"""  # 10.2
LARGER_INSTANCE = r"""
aws rds modify-db-instance \
  --db-instance-identifier loglineos-prod \
  --db-instance-class db.t3.medium \
  --apply-immediately
"""  # 10.2
REPLICA = r"""
aws rds create-db-instance-read-replica \
  --db-instance-identifier loglineos-read-replica \
  --source-db-instance-identifier loglineos-prod
"""  # 10.2

ALL = (
    *(BOOT, ACTIVE_KERNELS, CURRENT_MANIFEST, SPANS_BY_TYPE, REGISTERED_APPS, SNAPSHOT),
    *(RESTORE, CHECK_MANIFEST, KERNEL_EXISTS, REACHABLE, CONCURRENCY, LARGER_INSTANCE, REPLICA),
)
