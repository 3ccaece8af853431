import { generateKeyPairSync } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { ROLES } from '../../src/config.ts';
import type { Role } from '../../src/config.ts';
import { openEmbeddedPostgres } from '../../src/infrastructure/embedded/embedded-postgres.ts';
import type { Logger } from '../../src/logger.ts';
import { Releasers } from '../../src/releasers.ts';
import { createCuttingProxy } from '../support/cutting-proxy.ts';
import type { CuttingProxy, ProxyTarget } from '../support/cutting-proxy.ts';
import { testSettings } from '../support/service.ts';
import type { ServiceSettings } from '../support/service.ts';
import type { Artefacts } from './artefacts.ts';
import { startEventStore } from './event-store.ts';
import type { EventStorePart } from './event-store.ts';
import { Member } from './member.ts';
import { postgresOf } from './postgres.ts';
import type { PostgresPart } from './postgres.ts';
import { startRedis } from './redis.ts';
import type { RedisPart } from './redis.ts';
import { mountSmallDisk } from './small-disk.ts';
import type { SmallDisk } from './small-disk.ts';

export const DEPLOYMENTS = ['embedded', 'distributed'] as const;
export type DeploymentKind = (typeof DEPLOYMENTS)[number];

/** What the deciders are told; the checks have to know it as well. */
export const POLICY = { jobBackoffMs: 200, webhookBackoffMs: 400 } as const;

/** A way from some of the processes to a part, or from the users to an api. */
export interface Link {
  /** For example `redis-2`: the second way, which the second process of each role takes. */
  readonly name: string;
  readonly to: 'postgres' | 'redis' | 'event store' | 'api';
  readonly proxy: CuttingProxy;
}

/** Everything that runs, and can be made to fail. */
export interface Stage {
  readonly kind: DeploymentKind;
  readonly members: readonly Member[];
  readonly links: readonly Link[];
  readonly postgres: PostgresPart;
  /** Holds the data folder of Postgres. */
  readonly disk: SmallDisk;
  readonly redis: RedisPart | null;
  readonly eventStore: EventStorePart | null;
  /** How the command line finds the parts, past the links. */
  readonly settings: ServiceSettings;
  readonly folder: string;
  /** Ends every process and removes all data. Idempotent. */
  stop(): Promise<void>;
}

const HANDLERS = fileURLToPath(new URL('./handlers', import.meta.url));

/** The parts without the service's processes. */
type Ground = Omit<Stage, 'members'> & { readonly links: Link[] };

/**
 * Starts a deployment: distributed with two processes of each role; embedded with two that have all roles, the second of which
 * reaches the embedded Postgres through a link.
 */
export async function openStage(kind: DeploymentKind, artefacts: Artefacts): Promise<Stage> {
  const logger = loggerTo(artefacts);
  const releasers = new Releasers(logger);
  const stop = (): Promise<void> => releasers.releaseAll();
  try {
    const ground = await openGround(kind, artefacts, { logger, releasers });
    const members = await startMembers(ground, artefacts, releasers);
    return { ...ground, members, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function loggerTo(artefacts: Artefacts): Logger {
  return pino({ level: 'debug' }, { write: (line: string) => artefacts.log('run', line) });
}

async function openGround(
  kind: DeploymentKind,
  artefacts: Artefacts,
  { logger, releasers }: { logger: Logger; releasers: Releasers },
): Promise<Ground> {
  const folder = await mkdtemp(path.join(tmpdir(), 'asyncly-chaos-data-'));
  releasers.push('folder', () => rm(folder, { recursive: true, force: true }));
  const [mount, keyFile] = [path.join(folder, 'disk'), path.join(folder, 'audit.pem')];
  await mkdir(mount);
  const disk = await mountSmallDisk(mount);
  releasers.push('disk', () => disk.dispose());
  const { privateKey } = generateKeyPairSync('ed25519');
  await writeFile(keyFile, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  const common = {
    ...testSettings,
    HANDLERS_DIR: HANDLERS,
    // What a service has that nobody has set it for.
    REQUEST_PATIENCE_MS: '',
    JOB_BACKOFF_MS: String(POLICY.jobBackoffMs),
    WEBHOOK_BACKOFF_MS: String(POLICY.webhookBackoffMs),
    WEBHOOK_TIMEOUT_MS: '2000',
    RATE_LIMIT_JOBS_PER_MINUTE: '1000000',
    AUDIT_SIGNING_KEY_FILE: keyFile,
  };
  const dataDir = path.join(mount, 'data');
  const rest = {
    kind,
    disk,
    folder,
    links: [],
    postgres: postgresOf(dataDir),
    stop: () => Promise.resolve(),
  };
  if (kind === 'embedded')
    return { ...rest, redis: null, eventStore: null, settings: { ...common, DATA_DIR: dataDir } };

  const server = await openEmbeddedPostgres({
    dataDir,
    roles: [],
    logger,
    settings: { max_wal_size: '256MB' },
  });
  releasers.push('postgres', () => server.stop());
  const redis = await startRedis(path.join(folder, 'redis-snapshot'));
  releasers.push('redis', () => redis.dispose());
  const eventStore = await startEventStore(artefacts.file('events.ndjson'));
  releasers.push('event store', () => eventStore.dispose());
  const settings = {
    ...common,
    DATA_DIR: folder,
    DATABASE_URL: server.url,
    REDIS_URL: redis.url,
    EVENTSTORE_URL: eventStore.url,
  };
  return { ...rest, redis, eventStore, settings };
}

async function startMembers(ground: Ground, artefacts: Artefacts, releasers: Releasers): Promise<Member[]> {
  const { kind, folder, links, postgres, redis, eventStore, settings } = ground;

  async function link(to: Link['to'], n: number, target: ProxyTarget | (() => ProxyTarget | null)) {
    const proxy = await createCuttingProxy(target);
    releasers.push(`link to ${to}`, () => proxy.close());
    links.push({ name: `${to}-${n}`, to, proxy });
    return `127.0.0.1:${proxy.port}`;
  }
  const local = (port: number | null): ProxyTarget | null =>
    port === null ? null : { host: '127.0.0.1', port };

  /** The addresses that the n-th processes use. */
  async function addresses(n: number): Promise<ServiceSettings> {
    const url = new URL(postgres.url());
    url.host = await link('postgres', n, () => local(postgres.port()));
    if (redis === null || eventStore === null) return { DATABASE_URL: url.href };
    const toRedis = await link('redis', n, local(Number(new URL(redis.url).port))!);
    const toEvents = await link('event store', n, local(eventStore.port)!);
    return {
      DATABASE_URL: url.href,
      REDIS_URL: `redis://${toRedis}`,
      EVENTSTORE_URL: `esdb://${toEvents}?tls=false`,
    };
  }

  const members: Member[] = [];
  async function add(name: string, roles: readonly Role[], own: ServiceSettings): Promise<Member> {
    const member = new Member({ name, roles, settings: { ...settings, ...own }, folder, artefacts });
    members.push(member);
    releasers.push(name, () => member.dispose());
    if (roles.includes('api')) {
      await link('api', members.filter((one) => one.roles.includes('api')).length, () =>
        local(member.url === null ? null : Number(new URL(member.url).port)),
      );
    }
    return member;
  }

  if (kind === 'embedded') {
    await (await add('service-1', ROLES, {})).start();
    const second = await add('service-2', ROLES, { DATA_DIR: folder, ...(await addresses(2)) });
    await second.start();
    return members;
  }
  for (const n of [1, 2]) {
    const own = await addresses(n);
    for (const role of ROLES) await add(`${role}-${n}`, [role], own);
  }
  await Promise.all(members.map((member) => member.start()));
  return members;
}

/** Where the users find the apis. */
export function apisOf({ links }: Pick<Stage, 'links'>): string[] {
  return links.filter(({ to }) => to === 'api').map(({ proxy }) => `http://127.0.0.1:${proxy.port}`);
}
