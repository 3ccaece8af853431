import type { LiveLimits } from './live-connection.ts';
import type { MeterOptions } from './meter.ts';

export interface LiveServerLimits extends LiveLimits {
  /** Sockets of one user, and of all together. */
  readonly socketsPerUser: number;
  readonly sockets: number;
  /** Pings and pongs of a client. */
  readonly controlFrames: MeterOptions;
  /** Upgrades whose credential is being checked. */
  readonly pendingUpgrades: number;
  /** Bytes that wait for all clients together to read them. */
  readonly unreadBytes: number;
  /** Events that may be read for one `sinceCursor`. */
  readonly scannedEvents: number;
  readonly scans: number;
  readonly heartbeatMs: number;
  /** How long a stop waits for clients to close. */
  readonly stopMs: number;
}

export const defaultLiveLimits: LiveServerLimits = {
  socketsPerUser: 20,
  sockets: 10_000,
  pendingUpgrades: 500,
  subscriptions: 1_000,
  // After a break a client may subscribe to all its jobs at once.
  messages: { burst: 1_200, perSecond: 20 },
  malformed: { burst: 20, perSecond: 1 },
  controlFrames: { burst: 60, perSecond: 5 },
  bufferedEvents: 1_000,
  bufferedCharacters: 4_194_304,
  unreadBytes: 67_108_864,
  scannedEvents: 100_000,
  scans: 4,
  heartbeatMs: 30_000,
  stopMs: 2_000,
};
