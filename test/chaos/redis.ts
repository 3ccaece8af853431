import { cp, rm } from 'node:fs/promises';
import type { RedisServer } from '../support/redis-server.ts';
import { startRedisServer } from '../support/redis-server.ts';

/** A Redis whose data can be put back to what it was. */
export interface RedisPart extends RedisServer {
  /** Removes every key (`FLUSHALL`), unless there is no job in the queue. @returns how many jobs there were */
  flushEntries(): Promise<number>;
  /** Writes so far. */
  changes(): Promise<string>;
  /** Notes the data as it is now. */
  takeSnapshot(): Promise<void>;
  /** Stands in the way of nothing, but as a power cut ends it, with the data of the last snapshot at the next start. */
  killAndRestoreSnapshot(): Promise<void>;
}

/** In one step, so that what was counted is what is lost. Keys as BullMQ names them, of jobs that wait, run or are delayed. */
const FLUSH_ENTRIES = `
  local prefix = 'asyncly:work:'
  local entries = redis.call('LLEN', prefix .. 'wait') + redis.call('LLEN', prefix .. 'active')
    + redis.call('ZCARD', prefix .. 'prioritized') + redis.call('ZCARD', prefix .. 'delayed')
  if entries > 0 then redis.call('FLUSHALL') end
  return entries`;

export async function startRedis(snapshot: string): Promise<RedisPart> {
  const server = await startRedisServer({
    appendOnly: true,
    // Its files keep their names, so that they can be copied at any time.
    settings: { 'auto-aof-rewrite-percentage': '0' },
  });
  return {
    ...server,
    get pid() {
      return server.pid;
    },
    async flushEntries() {
      return Number(await server.call('EVAL', FLUSH_ENTRIES, '0'));
    },
    async changes() {
      // Counts every change, and is not set back by anything but a restart.
      return (
        /rdb_changes_since_last_save:(\d+)/.exec(String(await server.call('INFO', 'persistence')))?.[1] ?? ''
      );
    },
    async takeSnapshot() {
      await rm(snapshot, { recursive: true, force: true });
      // Copied while it is written to: a last entry that is cut off is what Redis is told to bear.
      await cp(server.folder, snapshot, { recursive: true });
    },
    async killAndRestoreSnapshot() {
      await server.kill();
      await rm(server.folder, { recursive: true });
      await cp(snapshot, server.folder, { recursive: true });
    },
  };
}
