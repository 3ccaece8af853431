import { Command } from 'commander';
import { hostname } from 'node:os';
import { databaseAddress, openDatabase } from '../../composition/open-database.ts';
import { eventStoreAddress, openEventStore } from '../../composition/open-event-store.ts';
import { loadConfig } from '../../config.ts';
import type { Config, Role } from '../../config.ts';
import { errorMessage } from '../../errors.ts';
import { createLogger } from '../../logger.ts';
import { projections } from '../../projections/registry.ts';
import { consumerProblems, workerProblems } from '../../queries/role-health.ts';
import { Releasers } from '../../releasers.ts';
import { withAction } from '../action.ts';
import type { Cli } from '../action.ts';

const API_TIMEOUT_MS = 3_000;

const MANUAL = `
For each of ROLES:
  api         this machine's answers on HOST and PORT (/healthz)
  worker      one of this machine has sent a heartbeat in the last 10 s
  projector   every read model is at the end of the event store, or moves; whichever process is the active one
  dispatcher  the same for the dispatcher`;

/** `asyncly health`: what a container's health check asks. */
export function healthCommand(cli: Cli): Command {
  const command = new Command('health')
    .description('whether the ROLES of this machine are at work; exit code 1 when one is not')
    .addHelpText('after', MANUAL);
  return withAction(command, cli, async () => {
    const config = loadConfig();
    const problems = await problemsOf(config);
    return {
      data: { healthy: problems.length === 0, roles: config.ROLES, problems },
      text: problems.length === 0 ? 'healthy' : problems.join('\n'),
      failed: problems.length > 0,
    };
  });
}

async function problemsOf(config: Config): Promise<string[]> {
  const has = (role: Role): boolean => config.ROLES.includes(role);
  const problems = has('api') ? await apiProblems(config) : [];
  if (!has('worker') && !has('projector') && !has('dispatcher')) return problems;
  const logger = createLogger('warn', 'stderr');
  const options = { dataDir: config.DATA_DIR, logger, use: 'reading' } as const;
  const releasers = new Releasers(logger);
  try {
    const { database, close } = await openDatabase(databaseAddress(config), options);
    releasers.push('database', close);
    if (has('worker')) problems.push(...(await workerProblems(database, hostname())));
    const consumers = [
      ...(has('projector') ? projections.map(({ name }) => name) : []),
      ...(has('dispatcher') ? ['dispatcher'] : []),
    ];
    if (consumers.length === 0) return problems;
    const { store, close: closeStore } = await openEventStore(eventStoreAddress(config), options);
    releasers.push('event store', closeStore);
    const head = await store.head();
    problems.push(...(await consumerProblems({ database, head }, consumers)));
  } catch (error) {
    problems.push(errorMessage(error));
  } finally {
    await releasers.releaseAll();
  }
  return problems;
}

async function apiProblems({ HOST, PORT }: Config): Promise<string[]> {
  const host = HOST === '0.0.0.0' ? '127.0.0.1' : HOST === '::' ? '[::1]' : HOST;
  const url = `http://${host}:${PORT}/healthz`;
  try {
    const { status } = await fetch(url, { signal: AbortSignal.timeout(API_TIMEOUT_MS) });
    return status === 200 ? [] : [`${url} answers ${status}`];
  } catch (error) {
    return [`${url} does not answer: ${errorMessage(error)}`];
  }
}
