/** One guard taken away, and the tests that have to notice. */
export interface Mutation {
  /** What the product can no longer rely on. */
  readonly guard: string;
  readonly file: string;
  /** Exact text, there once in the file. */
  readonly find: string;
  readonly replace: string;
  readonly tests: TestRun;
}

/** Test files, and of their tests those whose name fits, all by default. */
export interface TestRun {
  readonly files: readonly string[];
  readonly names?: string;
}

const decider = 'src/commands/job-decider.ts';
const append = 'migrations/0001_event_store.sql';
const eventStoreDbAppender = 'src/infrastructure/eventstoredb/event-store-appender.ts';
const unit: TestRun = { files: ['test/unit/job-decider.test.ts'] };
const dispatcher: TestRun = { files: ['test/integration/dispatcher.test.ts'], names: 'the reconciler' };
const contract = (names: string): TestRun => ({
  files: ['test/contract/event-store/postgres.test.ts'],
  names,
});
const queue: TestRun = {
  files: ['test/contract/work-queue/bullmq-postgres.test.ts'],
  names: 'added twice|a finished one was left of',
};
const egress: TestRun = { files: ['test/unit/egress-guard.test.ts'] };
const guardedService = (names: string): TestRun => ({
  files: ['test/security/egress-service.test.ts'],
  names,
});
const eventStoreDb: TestRun = {
  files: ['test/integration/eventstoredb-faults.test.ts'],
  names: 'an append that meets|after a lost reply',
};
const routes: TestRun = { files: ['test/security/routes.test.ts'] };
const overload: TestRun = { files: ['test/integration/http-overload.test.ts'] };
const live: TestRun = { files: ['test/security/websocket.test.ts'], names: 'cursor' };
const seals: TestRun = { files: ['test/integration/audit-verify-store.test.ts'] };

/** Where a mutant changes SQL, it keeps every parameter in use: else Postgres would refuse the statement, and any test would notice. */
export const mutations: readonly Mutation[] = [
  {
    guard: 'fencing: a replaced execution reports in vain',
    file: decider,
    find: 'if (job.execution?.id !== executionId) throw new StaleExecutionError(executionId);',
    replace: 'if (job.execution === null) throw new StaleExecutionError(executionId);',
    tests: { files: [...unit.files, 'test/integration/runner.test.ts'], names: 'fencing|was replaced' },
  },
  {
    guard: 'takeover: only of the execution that was proved dead',
    file: decider,
    find: 'if (job.execution.id !== supersedes) throw new JobAlreadyRunningError(job.execution.id);',
    replace: '',
    tests: unit,
  },
  {
    guard: 'takeover: the proof is a dead heartbeat',
    file: 'src/workers/heartbeat.ts',
    find: "return rows[0]?.running === true ? 'running' : 'dead';",
    replace: "return rows.length > 1 ? 'running' : 'dead';",
    tests: { files: ['test/integration/runner.test.ts'], names: 'takeover' },
  },
  {
    guard: 'heartbeat: a worker that lost its own stops its handlers',
    file: 'src/workers/runner.ts',
    find: 'stopAll(new StoppedError(HEARTBEAT_LOST));',
    replace: '',
    tests: { files: ['test/integration/runner.test.ts'], names: 'renew its heartbeat' },
  },
  {
    guard: 'heartbeat: and starts none',
    file: 'src/workers/runner.ts',
    find: 'if (!this.#heartbeat.alive) return again(HEARTBEAT_LOST_MS);',
    replace: '',
    tests: { files: ['test/integration/runner.test.ts'], names: 'renew its heartbeat' },
  },
  {
    guard: 'queue entries: an old round or attempt starts nothing',
    file: decider,
    find: 'if (isTerminal(job.status) || round !== job.round || attempt !== job.attempt) {',
    replace: 'if (isTerminal(job.status)) {',
    tests: unit,
  },
  {
    guard: 'due times: a job does not start early, whatever the queue says',
    file: decider,
    find: '} else if (job.dueAt !== null && Date.parse(job.dueAt) > Date.parse(now)) {',
    replace: "} else if (job.dueAt === '') {",
    tests: unit,
  },
  {
    guard: 'reads: one that was cancelled with its connection is not complete',
    file: 'src/infrastructure/eventstoredb/event-store-reads.ts',
    find: 'if (connection.gaveUp(client)) throw new GivenUpError();',
    replace: '',
    tests: { files: ['test/integration/eventstoredb-connection.test.ts'] },
  },
  {
    guard: 'reconciler: what the queue has lost is put back',
    file: 'src/workers/reconciler.ts',
    find: 'if (entries.length > 0) await queue.add(entries);',
    replace: '',
    tests: dispatcher,
  },
  {
    guard: 'reconciler: the epoch tells of a queue that lost its data',
    file: 'src/workers/reconciler.ts',
    find: 'return known === 0n || (found !== null && found >= known);',
    replace: 'return known >= 0n;',
    tests: dispatcher,
  },
  {
    guard: 'reconciler: an epoch that is older counts as lost data too',
    file: 'src/workers/reconciler.ts',
    find: '(found !== null && found >= known)',
    replace: 'found !== null',
    tests: dispatcher,
  },
  {
    guard: 'reconciler: no epoch is written over a loss',
    file: 'src/workers/reconciler.ts',
    find: 'if (isIntact(found, known) && (await queue.replaceEpoch(found, next))) {',
    replace: 'if (isIntact(found, known) && (await queue.replaceEpoch(await queue.readEpoch(), next))) {',
    tests: dispatcher,
  },
  {
    guard: 'reconciler: data lost once more while it is restored is restored again',
    file: 'src/workers/reconciler.ts',
    find: 'if (!isAborted(signal)) await queue.replaceEpoch(-epoch, epoch);',
    replace: 'if (!isAborted(signal)) await queue.replaceEpoch(await queue.readEpoch(), epoch);',
    tests: dispatcher,
  },
  {
    guard: 'reconciler: a finished entry does not block its id',
    file: 'src/infrastructure/bullmq/bullmq-queue.ts',
    find: 'await queue.remove(id);',
    replace: '',
    tests: queue,
  },
  {
    guard: 'dispatcher: the id of a queue entry follows from the work',
    file: 'src/infrastructure/bullmq/bullmq-queue.ts',
    find: 'opts: { ...entryOptions, delay, jobId: workId(entry) },',
    replace: 'opts: { ...entryOptions, delay, jobId: `${workId(entry)}-${Math.random()}` },',
    tests: queue,
  },
  {
    guard: 'append lock: positions in the order of commits',
    file: append,
    find: 'PERFORM pg_advisory_xact_lock(7305228461);',
    replace: '',
    tests: { files: ['test/integration/append-lock.test.ts'] },
  },
  {
    guard: 'expected revision: of two rivals one wins',
    file: append,
    find: 'IF before = last THEN',
    replace: 'IF before IS NOT NULL THEN',
    tests: contract('refuses|rivals'),
  },
  {
    guard: 'idempotent append: the same ids again change nothing',
    file: append,
    find: 'oks[i] := NOT EXISTS (',
    replace: 'oks[i] := false AND NOT EXISTS (',
    tests: contract('same ids again|repetition'),
  },
  {
    guard: 'idempotent append: without an expected revision as well',
    file: append,
    find: 'coalesce(repeated[i] - 1, last)',
    replace: 'last',
    tests: contract('with `any`'),
  },
  {
    guard: 'idempotent append: EventStoreDB gets the same ids again',
    file: eventStoreDbAppender,
    find: 'return await call(append);',
    replace: `const events = append.events.map((event) => ({ ...event, id: crypto.randomUUID() }));
        return await call(failures === 0 ? append : { ...append, events });`,
    tests: eventStoreDb,
  },
  {
    guard: 'idempotent append: EventStoreDB gets the revision that was expected at first',
    file: eventStoreDbAppender,
    find: 'return await call(append);',
    replace: "return await call(failures === 0 ? append : { ...append, expected: 'any' });",
    tests: eventStoreDb,
  },
  {
    guard: 'idempotent append: a conflict with what EventStoreDB has taken from us is none',
    file: eventStoreDbAppender,
    find: 'if (standing.length === events.length && standsAt(standing, events, 0)) {',
    replace: 'if (standing.length > events.length && standsAt(standing, events, 0)) {',
    tests: eventStoreDb,
  },
  {
    guard: 'idempotent append: without an expected revision EventStoreDB is asked what it has taken',
    file: eventStoreDbAppender,
    find: "if (failures > 0 && append.expected === 'any') {",
    replace: "if (failures < 0 && append.expected === 'any') {",
    tests: eventStoreDb,
  },
  {
    guard: 'checkpoint: moved only from where it was read',
    file: 'migrations/0010_move_checkpoint.sql',
    find: 'WHERE name = consumer AND position = expected;',
    replace: 'WHERE name = consumer;',
    tests: { files: ['test/integration/consumer.test.ts'], names: 'one of two consumers' },
  },
  {
    guard: 'checkpoint: moved together with what the events amount to',
    file: 'src/infrastructure/postgres/pipeline.ts',
    find: 'query.submit(withoutSync)',
    replace: 'query.submit(connection)',
    tests: { files: ['test/integration/database.test.ts'], names: 'writes nothing when' },
  },
  {
    guard: 'lease: held by one',
    file: 'src/subscriptions/lease.ts',
    find: 'WHERE leases.holder = excluded.holder OR leases.expires_at < clock_timestamp()`,',
    replace: '`,',
    tests: { files: ['test/integration/leadership.test.ts'], names: 'one of three|another process' },
  },
  {
    guard: 'read models: a row takes each event once',
    file: 'src/projections/jobs.ts',
    find: 'if (before !== null && recorded.revision <= before.revision) continue;',
    replace: '',
    tests: { files: ['test/integration/projections.test.ts'] },
  },
  {
    guard: 'live: an event goes out when the read models have it',
    file: 'src/http/live/checkpoint-gate.ts',
    find: '(known.get(name)?.position ?? START) >= position ||',
    replace: 'known.size >= 0 ||',
    tests: { files: ['test/unit/checkpoint-gate.test.ts'] },
  },
  {
    guard: 'Idempotency-Key: another request under the same key is refused',
    file: 'src/commands/handle-command.ts',
    find: "const isAnother = event.type === 'JobCreated' && event.data.requestHash !== requestHash;",
    replace: "const isAnother = event.type === 'JobCreated' && requestHash === '';",
    tests: { files: ['test/integration/idempotency.test.ts'], names: 'was used for another|two different' },
  },
  {
    guard: 'Idempotency-Key: a key leads to a job of its own user',
    file: 'src/http/idempotency.ts',
    find: 'return uuidv5(`${userId} ${key}`, NAMESPACE);',
    replace: 'return uuidv5(key, NAMESPACE);',
    tests: { files: ['test/integration/idempotency.test.ts'], names: 'its user’s own' },
  },
  {
    guard: 'Idempotency-Key: it leads to the same job, each time and in each process',
    file: 'src/http/idempotency.ts',
    find: 'return uuidv5(`${userId} ${key}`, NAMESPACE);',
    replace: 'return uuidv5(`${userId} ${key} ${process.hrtime.bigint()}`, NAMESPACE);',
    tests: { files: ['test/integration/idempotency.test.ts'], names: 'is answered with its job' },
  },
  {
    guard: 'Idempotency-Key: of two processes the event store lets one make the job',
    file: 'src/commands/command-handler.ts',
    find: "expected: state?.revision ?? 'no_stream'",
    replace: "expected: state?.revision ?? 'any'",
    tests: { files: ['test/integration/idempotency-processes.test.ts'] },
  },
  {
    guard: 'Idempotency-Key: what was accepted stays so when rules become stricter',
    file: 'src/http/routes/jobs.ts',
    find: 'if (requestHash === null) throw new ValidationError(problems);',
    replace: "if (requestHash !== '') throw new ValidationError(problems);",
    tests: { files: ['test/integration/idempotency-rules.test.ts'] },
  },
  {
    guard: 'webhooks: an attempt is recorded once',
    file: 'src/commands/webhook-decider.ts',
    find: 'if (attempt !== expected) throw new StaleAttemptError(attempt, expected);',
    replace: '',
    tests: { files: ['test/unit/webhook-decider.test.ts'] },
  },
  {
    guard: 'webhooks: the signature is of the body',
    file: 'src/workers/webhook-signature.ts',
    find: ".update(body).digest('hex')",
    replace: ".update(id).digest('hex')",
    tests: { files: ['test/unit/webhook-delivery.test.ts'] },
  },
  {
    guard: 'webhooks: and of the id and the time',
    file: 'src/workers/webhook-signature.ts',
    find: '`${id}.${timestamp}.${body}`',
    replace: 'body',
    tests: { files: ['test/unit/webhook-delivery.test.ts'] },
  },
  {
    guard: 'outgoing requests: every address of a name is checked',
    file: 'src/egress/guarded-connector.ts',
    find: 'if (addresses.length === 0 || !addresses.every(isAllowed)) throw',
    replace: 'if (addresses.length === 0) throw',
    tests: egress,
  },
  {
    guard: 'outgoing requests: and again where the connection led',
    file: 'src/egress/guarded-connector.ts',
    find: 'return allowPrivateNetworks || (remoteAddress !== undefined && isAllowed(unmapped(remoteAddress)));',
    replace: "return allowPrivateNetworks || remoteAddress !== '';",
    tests: egress,
  },
  {
    guard: 'outgoing requests: the setting reaches the check of submissions',
    file: 'src/composition/api.ts',
    find: 'urlProblem(url, config.WEBHOOK_ALLOW_PRIVATE_NETWORKS)',
    replace: 'urlProblem(url, true)',
    tests: guardedService('a submission'),
  },
  {
    guard: 'outgoing requests: and webhooks',
    file: 'src/composition/work.ts',
    find: 'createEgressClient({ allowPrivateNetworks: config.WEBHOOK_ALLOW_PRIVATE_NETWORKS })',
    replace: 'createEgressClient({ allowPrivateNetworks: true })',
    tests: guardedService('a delivery'),
  },
  {
    guard: 'outgoing requests: and handlers',
    file: 'src/composition/core.ts',
    find: 'allowPrivateNetworks: config.WEBHOOK_ALLOW_PRIVATE_NETWORKS,',
    replace: 'allowPrivateNetworks: true,',
    tests: guardedService('ctx.http'),
  },
  {
    guard: 'owners: a job is read by its own user',
    file: 'src/queries/jobs.ts',
    find: 'if (job?.userId !== userId) return null;',
    replace: 'if (job === null) return null;',
    tests: routes,
  },
  {
    guard: 'owners: and changed by no other',
    file: decider,
    find: 'if (job.userId !== userId) throw new JobNotFoundError();',
    replace: '',
    tests: unit,
  },
  {
    guard: 'owners: a list is of one user',
    file: 'src/queries/job-page.ts',
    find: 'FROM jobs WHERE user_id = $1',
    replace: 'FROM jobs WHERE $1::text IS NOT NULL',
    tests: routes,
  },
  {
    guard: 'owners: and so is its total',
    file: 'src/queries/job-page.ts',
    find: 'FROM job_totals WHERE user_id = $1',
    replace: 'FROM job_totals WHERE $1::text IS NOT NULL ORDER BY user_id = $1 LIMIT 1',
    tests: routes,
  },
  {
    guard: 'owners: the history of a job as well',
    file: 'src/queries/job-history.ts',
    find: 'if (owner !== userId) return null;',
    replace: 'if (owner === null) return null;',
    tests: routes,
  },
  {
    guard: 'owners: an earlier state of a job as well',
    file: 'src/queries/job-history.ts',
    find: 'if (owner !== null && job.userId !== owner) return null;',
    replace: '',
    tests: routes,
  },
  {
    guard: 'owners: figures are of one user',
    file: 'src/queries/job-stats.ts',
    find: "'user_id = $1 AND day BETWEEN",
    replace: "'$1::text IS NOT NULL AND day BETWEEN",
    tests: routes,
  },
  {
    guard: 'owners: a webhook is sent again for its own user',
    file: 'src/commands/webhook-commands.ts',
    find: 'if (job?.userId !== userId) throw new JobNotFoundError();',
    replace: 'if (job === null) throw new JobNotFoundError();',
    tests: routes,
  },
  {
    guard: 'owners: a resumed live client hears of its own jobs',
    file: 'src/http/live/scan.ts',
    find: 'if ((await owners.of(jobIdOf(event))) !== userId) continue;',
    replace: '',
    tests: live,
  },
  {
    guard: 'live: an event is sent once, by id and by scope',
    file: 'src/http/live/followed-jobs.ts',
    find: 'if (sent.has(item.revision) || (item.revision <= last && !byScope)) return false;',
    replace: 'if (item.revision <= last && !byScope) return false;',
    tests: { files: ['test/unit/followed-jobs.test.ts'] },
  },
  {
    guard: 'logout: its refresh token is worth nothing any more',
    file: 'src/identity/identity.ts',
    find: 'if ((await store.refreshTokenOwner(sha256(refreshToken))) !== userId)',
    replace: "if (userId === '')",
    tests: { files: ['test/security/tokens.test.ts'], names: 'kinds of tokens' },
  },
  {
    guard: 'tamper evidence: each event is compared with its hash',
    file: 'src/audit/checked-walk.ts',
    find: 'if (index < kept.length && !kept[index]?.equals(chained.leaf)) {',
    replace: 'if (index < 0) {',
    tests: seals,
  },
  {
    guard: 'tamper evidence: and the chain with its seals',
    file: 'src/audit/checked-walk.ts',
    find: 'if (seal && !seal.chain.equals(after)) {',
    replace: 'if (seal && after.length === 0) {',
    tests: seals,
  },
  {
    guard: 'overload: so many requests at a time',
    file: 'src/http/admission.ts',
    find: 'if (underWay >= most) throw',
    replace: 'if (most < 0) throw',
    tests: overload,
  },
  {
    guard: 'overload: of the whole API',
    file: 'src/http/app.ts',
    find: 'app.use(admission(maxRequests));',
    replace: '',
    tests: overload,
  },
  {
    guard: 'overload: bodies of the whole API',
    file: 'src/http/app.ts',
    find: 'jsonBody(maxBodyBytes)',
    replace: 'jsonBody()',
    tests: overload,
  },
  {
    guard: 'overload: bodies that fit into memory',
    file: 'src/http/body-budget.ts',
    find: 'while (bytes + wanted.bytes > most) {',
    replace: 'while (bytes + wanted.bytes < 0) {',
    tests: overload,
  },
  {
    guard: 'overload: a body that was turned away is let go of at once',
    file: 'src/http/body-budget.ts',
    find: "req.emit('aborted');",
    replace: '',
    tests: overload,
  },
  {
    guard: 'overload: a client that does not read is cut off',
    file: 'src/http/live/live-socket.ts',
    find: 'if (ws.bufferedAmount > MAX_BUFFERED) reader.cutOff();',
    replace: 'if (ws.bufferedAmount < 0) reader.cutOff();',
    tests: { files: ['test/integration/live-server.test.ts'], names: 'does not read is cut off' },
  },
  {
    guard: 'overload: what waits for all clients fits into memory',
    file: 'src/http/live/unread-messages.ts',
    find: 'if (total <= most) return;\n    waiting.sort',
    replace: 'if (total >= 0) return;\n    waiting.sort',
    tests: { files: ['test/unit/unread-messages.test.ts'] },
  },
];
