/** The import rules of the house: docs/architecture.md says why each one is there. */
const drivers = '^(pg|bullmq|ioredis|@eventstore/)';

module.exports = {
  forbidden: [
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    {
      name: 'domain-is-pure',
      comment: 'Events and deciders import nothing but each other, the error base class and zod.',
      severity: 'error',
      from: { path: '^src/(events/|commands/[^/]+-decider\\.ts$)' },
      to: { pathNot: '^(src/events/|src/commands/[^/]+-decider\\.ts$|src/errors\\.ts$|node_modules/zod/)' },
    },
    {
      name: 'drivers-stay-in-infrastructure',
      comment: 'Everything else talks to the ports.',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/infrastructure/' },
      to: { path: `node_modules/${drivers.slice(1)}`, dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'only-the-composition-root-knows-adapters',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/(infrastructure|composition)/' },
      to: { path: '^src/infrastructure/' },
    },
    {
      name: 'nothing-imports-the-entry-points',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: '^src/(main\\.ts$|cli/)', pathNot: '^src/cli/' },
    },
    {
      name: 'no-dev-dependencies-at-run-time',
      severity: 'error',
      from: { path: '^src/' },
      to: {
        dependencyTypes: ['npm-dev'],
        dependencyTypesNot: ['type-only'],
        pathNot: 'node_modules/@types/',
      },
    },
    { name: 'no-unresolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^bench/\\.build/' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      extensions: ['.ts', '.js', '.json'],
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'types', 'default'],
    },
  },
};
