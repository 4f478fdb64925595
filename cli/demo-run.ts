/** The CI run that the demo speaks of when nothing else is said; `token` and `script attest` must agree about it. */
export const DEMO_RUN = {
  person: 'dana',
  agent: 'coding-agent',
  runId: '7041',
  repository: 'clinic/etl',
  repositoryId: '58231',
  commit: '4f2a9c1d0b8e7f6a5d4c3b2a190817f6e5d4c3b2',
  ref: 'refs/heads/main',
  workflow: 'clinic/etl/.github/workflows/export.yml@refs/heads/main',
} as const;
