import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Role } from '../../src/config.ts';
import { errorMessage } from '../../src/errors.ts';
import { spawnService } from '../support/service-process.ts';
import type { Exit, ServiceProcess } from '../support/service-process.ts';
import type { ServiceSettings } from '../support/service.ts';
import { eventually } from '../support/waiting.ts';
import type { Artefacts } from './artefacts.ts';

export interface MemberOptions {
  /** For example `worker-1`. */
  readonly name: string;
  readonly roles: readonly Role[];
  readonly settings: ServiceSettings;
  /** Where it runs. */
  readonly folder: string;
  readonly artefacts: Artefacts;
}

/** A start that hangs, on a connection that leads nowhere, is given up; the first ones share the machine with each other. */
const UP_MS = 40_000;
/** A start is refused while a part is away; whoever runs a service tries again, as docker-compose does. */
const STARTS = 20;
/** Characters. */
const LAST_WORDS = 2_000;
const WRONG_CLOCK = new URL('./preload/wrong-clock.mjs', import.meta.url).href;

/** One process of the service, killed and started again as often as the run wants. */
export class Member {
  readonly name: string;
  readonly roles: readonly Role[];
  /** Ends that nobody had asked for, with the last words. */
  readonly deaths: string[] = [];
  /** Starts that were refused. */
  refusedStarts = 0;
  readonly #options: MemberOptions;
  #process: ServiceProcess | null = null;
  #url: string | null = null;
  #starting: Promise<void> = Promise.resolve();
  #gone = false;

  constructor(options: MemberOptions) {
    this.name = options.name;
    this.roles = options.roles;
    this.#options = options;
  }

  /** Of its api while it is up; null otherwise. */
  get url(): string | null {
    return this.#url;
  }

  get pid(): number {
    if (this.#process === null) throw new Error(`${this.name} has not been started`);
    return this.#process.pid;
  }

  /** Starts it; several tries. @throws when it does not come up @param clockOffsetMs how far its clock is to be off */
  start(clockOffsetMs = 0): Promise<void> {
    return (this.#starting = this.#starting.then(() => this.#start(clockOffsetMs)));
  }

  /** Resolves when the last start that was asked for has succeeded. */
  up(): Promise<void> {
    return this.#starting;
  }

  /** Whether it has said this since it was started. */
  hasSaid(text: string): boolean {
    return this.#process?.hasSaid(text) ?? false;
  }

  /** Ends it; an end of another kind than was asked for is noted among its deaths. @throws when it does not run */
  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const ending = this.#process;
    if (ending === null || ending.hasEnded) throw new Error(`${this.name} does not run`);
    this.#process = null;
    this.#url = null;
    const exit = await ending.end(signal);
    const wanted = signal === 'SIGKILL' ? exit.signal === 'SIGKILL' : exit.code === 0;
    if (!wanted) this.#died(exit, ` on ${signal}`);
  }

  /** Stops it in its tracks, and sees to it. */
  async suspend(): Promise<void> {
    const { pid } = this;
    process.kill(pid, 'SIGSTOP');
    await eventually(() => stateOf(pid) === 'T');
  }

  resume(): void {
    if (this.#process !== null && !this.#process.hasEnded) process.kill(this.#process.pid, 'SIGCONT');
  }

  /** Ends it for good, whatever it is doing. Idempotent. */
  async dispose(): Promise<void> {
    this.#gone = true;
    const last = this.#process;
    this.#process = null;
    await last?.end('SIGKILL');
    await this.#starting.catch(() => undefined);
    await (this.#process as ServiceProcess | null)?.end('SIGKILL');
  }

  async #start(clockOffsetMs: number): Promise<void> {
    for (let tries = 1; !this.#gone; tries++) {
      const started = this.#spawn(clockOffsetMs);
      this.#process = started;
      try {
        this.#url = (await started.up(UP_MS)) ?? null;
        void started.ended.then((exit) => {
          if (this.#process !== started || this.#gone) return;
          this.#url = null;
          this.#died(exit, ' by itself');
        });
        return;
      } catch (error) {
        await started.end('SIGKILL');
        this.refusedStarts++;
        if (tries >= STARTS)
          throw new Error(`${this.name} does not start: ${errorMessage(error)}`, { cause: error });
        await delay(500);
      }
    }
  }

  #died({ code, signal, output }: Exit, how: string): void {
    const words = output.slice(-LAST_WORDS);
    this.deaths.push(`${this.name} ended${how} with ${signal ?? `exit code ${String(code)}`}:\n${words}`);
  }

  #spawn(clockOffsetMs: number): ServiceProcess {
    const { name, settings, folder, artefacts, roles } = this.#options;
    const off = clockOffsetMs !== 0;
    const env = {
      ...settings,
      ROLES: roles.join(','),
      ...(off && { CHAOS_CLOCK_OFFSET_MS: String(clockOffsetMs) }),
    };
    return spawnService(env, folder, {
      imports: off ? [WRONG_CLOCK] : [],
      onOutput: (text) => artefacts.log(name, text),
    });
  }
}

/** The state of a process as the kernel has it: `T` when it is stopped. */
export function stateOf(pid: number): string | undefined {
  return /^\d+ \(.*\) (\w)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1];
}
