import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Role } from '../../src/config.ts';
import type { EventStore } from '../../src/events/event-store.ts';
import { createEventStoreDbEventStore } from '../../src/infrastructure/eventstoredb/event-store.ts';
import type { PostgresDatabase } from '../../src/infrastructure/postgres/database.ts';
import { Releasers } from '../../src/releasers.ts';
import { createTestDatabase, silentLogger } from './database.ts';
import { spawnEventStoreDouble } from './eventstoredb/process.ts';
import { startRedisServer } from './redis-server.ts';
import { spawnService } from './service-process.ts';
import type { ServiceProcess } from './service-process.ts';
import { addressesOf, testSettings } from './service.ts';
import type { ServiceSettings } from './service.ts';

/** One process of the service. */
export interface Member extends ServiceProcess {
  readonly role: Role;
  /** Of its HTTP server, without `/api`; empty without the api role. */
  readonly base: string;
  readonly wsBase: string;
}

/** What the members share. */
interface Ground {
  readonly folder: string;
  readonly settings: ServiceSettings;
  readonly database: PostgresDatabase;
  readonly store: EventStore;
  readonly redisUrl: string;
}

/** Processes start beside each other on a machine with few cores. */
const START_MS = 120_000;

/**
 * The distributed deployment as processes: EventStoreDB's double, a Redis, a Postgres database, and as many processes of each
 * role as a test wants. Made before it is started, so that whatever has started by then ends with the test.
 */
export class Topology {
  readonly members: Member[] = [];
  readonly #settings: ServiceSettings;
  readonly #releasers = new Releasers(silentLogger);
  #ground: Ground | null = null;

  /** @param settings on top of the tests' usual ones */
  constructor(settings: ServiceSettings = {}) {
    this.#settings = settings;
  }

  /** Starts what the members share, then the members, all at the same time. */
  async start(counts: Readonly<Partial<Record<Role, number>>>): Promise<void> {
    this.#ground = await this.#prepare();
    const roles = Object.entries(counts) as [Role, number][];
    await Promise.all(
      roles.flatMap(([role, count]) => Array.from({ length: count }, () => this.startMember(role))),
    );
  }

  /** One more process; it is up when this resolves. */
  async startMember(role: Role): Promise<Member> {
    const { folder, settings } = this.#shared;
    const process = spawnService({ ...settings, ROLES: role }, folder);
    this.#releasers.push(role, () => process.end('SIGKILL').then(() => undefined));
    const url = await process.up(START_MS);
    const member = Object.assign(process, { role, ...addressesOf(url ?? '') });
    this.members.push(member);
    return member;
  }

  /** Those of a role that have not ended, in the order in which they came up. */
  running(role: Role): Member[] {
    return this.members.filter((member) => member.role === role && !member.hasEnded);
  }

  /** Who holds the lease of a role, and may have died with it. @throws when it is free */
  async holder(role: 'projector' | 'dispatcher'): Promise<Member> {
    const { rows } = await this.database.query<{ holder: string }>(
      'SELECT holder FROM leases WHERE name = $1',
      [role],
    );
    const member = this.members.find((one) => rows.some(({ holder }) => one.hasSaid(holder)));
    if (!member) throw new Error(`Nobody holds the lease of the ${role}`);
    return member;
  }

  get database(): PostgresDatabase {
    return this.#shared.database;
  }

  get store(): EventStore {
    return this.#shared.store;
  }

  get redisUrl(): string {
    return this.#shared.redisUrl;
  }

  /** Kills every process that is left, last started first, and removes all data. Idempotent. */
  stop(): Promise<void> {
    return this.#releasers.releaseAll();
  }

  get #shared(): Ground {
    if (this.#ground === null) throw new Error('The topology has not been started');
    return this.#ground;
  }

  async #prepare(): Promise<Ground> {
    const releasers = this.#releasers;
    const folder = await mkdtemp(path.join(tmpdir(), 'asyncly-topology-'));
    releasers.push('folder', () => rm(folder, { recursive: true, force: true }));
    const testDatabase = await createTestDatabase();
    releasers.push('database', () => testDatabase.drop());
    const double = await spawnEventStoreDouble();
    releasers.push('double', () => double.stop().then(() => undefined));
    const redis = await startRedisServer();
    releasers.push('redis', () => redis.dispose());
    const store = createEventStoreDbEventStore({ url: double.url, logger: silentLogger });
    releasers.push('event store', () => store.close());
    const { url, database } = testDatabase;
    const addresses = { DATABASE_URL: url, EVENTSTORE_URL: double.url, REDIS_URL: redis.url };
    const settings = { ...testSettings, ...addresses, DATA_DIR: folder, ...this.#settings };
    return { folder, settings, database, store, redisUrl: redis.url };
  }
}
