import { readdirSync, readFileSync } from 'node:fs';

export interface Usage {
  /** User and system time together. */
  readonly cpuSeconds: number;
  /** The most resident memory it ever had. */
  readonly peakMb: number;
  readonly residentMb: number;
}

interface Stat {
  readonly parent: number;
  /** Seconds of the process itself. */
  readonly own: number;
  /** Seconds of its children that have ended. */
  readonly ended: number;
}

/** Clock ticks a second in /proc, the same on every Linux. */
const TICKS = 100;

/** What a process has used, see proc(5). @throws when it has ended */
export function usageOf(pid: number): Usage {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const kilobytes = (name: string): number => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1] ?? 0);
  return {
    cpuSeconds: statOf(pid).own,
    peakMb: kilobytes('VmHWM') / 1024,
    residentMb: kilobytes('VmRSS') / 1024,
  };
}

/** CPU seconds of a process and of all children it has and had. */
export function familySeconds(pid: number): number {
  const { own, ended } = statOf(pid);
  return childrenOf(pid).reduce((sum, child) => sum + child.own, own + ended);
}

export const parentOf = (pid: number): number => statOf(pid).parent;

function childrenOf(pid: number): Stat[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const stat = statOf(Number(name));
        return stat.parent === pid ? [stat] : [];
      } catch {
        // It has ended since the directory was read.
        return [];
      }
    });
}

function statOf(pid: number): Stat {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The name before it may hold anything, spaces and brackets too.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const seconds = (first: number): number => (Number(fields[first]) + Number(fields[first + 1])) / TICKS;
  return { parent: Number(fields[1]), own: seconds(11), ended: seconds(13) };
}
