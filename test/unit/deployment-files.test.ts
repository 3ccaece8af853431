import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { validate } from 'dockerfile-utils';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { ROLES } from '../../src/config.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const text = (file: string): string => readFileSync(path.join(root, file), 'utf8');
const SECRETS = [
  'POSTGRES_PASSWORD',
  'REDIS_PASSWORD',
  'JWT_ACCESS_SECRET',
  'JWT_REFRESH_SECRET',
  'WEBHOOK_SECRET',
];

const service = z.looseObject({
  image: z.string(),
  build: z.string().optional(),
  command: z.array(z.string()).optional(),
  environment: z.record(z.string(), z.string()),
  ports: z.array(z.string()).default([]),
  volumes: z.array(z.string()).default([]),
  healthcheck: z.looseObject({}).optional(),
  depends_on: z.record(z.string(), z.object({ condition: z.string() })).default({}),
  deploy: z
    .looseObject({
      replicas: z.number().default(1),
      resources: z.object({ limits: z.object({ cpus: z.string(), memory: z.string() }) }),
    })
    .optional(),
});
const compose = z
  .looseObject({ services: z.record(z.string(), service), volumes: z.record(z.string(), z.null()) })
  .parse(parse(text('docker-compose.yml'), { merge: true }));
const services = Object.entries(compose.services).map(([name, settings]) => ({ name, ...settings }));
const ours = services.filter(({ build }) => build !== undefined);
const dockerfile = text('Dockerfile');

describe('docker-compose.yml', () => {
  test('has every role, api and worker twice', () => {
    const copies = new Map<string, number>();
    for (const { environment, deploy } of ours) {
      const role = environment.ROLES;
      if (role !== undefined) copies.set(role, (copies.get(role) ?? 0) + (deploy?.replicas ?? 1));
    }
    expect([...copies.keys()].sort()).toEqual([...ROLES].sort());
    expect(copies.get('api')).toBe(2);
    expect(copies.get('worker')).toBe(2);
  });

  test('pins every image to a version', () => {
    for (const { name, image } of services)
      expect(image, name).toMatch(/:\d+\.\d+\.\d+$|^postgres:\d+\.\d+$/);
  });

  test('knows of every service whether it is well, or waits for its end', () => {
    const ends = services.filter(({ depends_on }) => depends_on['migrate'] !== undefined);
    expect(ends.map(({ name }) => name)).toEqual(ours.map(({ name }) => name).filter((n) => n !== 'migrate'));
    for (const { depends_on } of ends) {
      expect(depends_on['migrate']?.condition).toBe('service_completed_successfully');
    }
    for (const { name, build, healthcheck } of services) {
      if (name === 'migrate') continue;
      // Ours have the image's.
      if (build === undefined) expect(healthcheck, name).toHaveProperty('test');
      else expect(healthcheck, name).toBeUndefined();
    }
    expect(dockerfile).toMatch(/^HEALTHCHECK .*"asyncly", "health"/m);
  });

  test('waits only for services that are there and can be seen to be well', () => {
    for (const { name, depends_on } of services) {
      for (const [other, { condition }] of Object.entries(depends_on)) {
        expect(compose.services, name).toHaveProperty(other);
        if (condition === 'service_healthy')
          expect(compose.services[other]?.healthcheck).toHaveProperty('test');
      }
    }
  });

  test('sets no variable that the service does not know', () => {
    const known = new Set(text('.env.example').match(/(?<=^#?)[A-Z_]+(?==)/gm));
    for (const { name, environment } of ours) {
      for (const variable of Object.keys(environment))
        expect(known, `${variable} of ${name}`).toContain(variable);
    }
    const read = text('docker-compose.yml').match(/(?<=\$\{)[A-Z_]+/g) ?? [];
    for (const variable of read) expect(known).toContain(variable);
  });

  test('has no default for a secret, and no secret in it', () => {
    const uses = text('docker-compose.yml').match(/\$\{(?:\w*(?:SECRET|PASSWORD)\w*)[^}]*\}/g) ?? [];
    expect(new Set(uses.map((use) => /\w+/.exec(use)?.[0]))).toEqual(new Set(SECRETS));
    for (const use of uses) expect(use).toMatch(/^\$\{\w+:\?/);
    for (const { name, environment } of services) {
      for (const [variable, value] of Object.entries(environment)) {
        if (/SECRET|PASSWORD|AUTH$/.test(variable)) expect(value, `${variable} of ${name}`).toMatch(/^\$\{/);
      }
    }
  });

  test('opens ports to this machine alone, keeps data in named volumes, bounds what each takes', () => {
    for (const { name, ports, volumes, deploy } of services) {
      for (const port of ports) expect(port, name).toMatch(/^127\.0\.0\.1:/);
      for (const volume of volumes) expect(compose.volumes, name).toHaveProperty(volume.split(':')[0] ?? '');
      if (name !== 'migrate') expect(deploy?.resources.limits, name).toBeDefined();
    }
    expect(new Set(services.flatMap(({ ports }) => ports.map((port) => port.split(':')[1]))).size).toBe(5);
  });

  test('keeps Redis from forgetting and from evicting', () => {
    const command = compose.services['redis']?.command?.join(' ');
    expect(command).toContain('--appendonly yes');
    expect(command).toContain('--maxmemory-policy noeviction');
  });
});

/** The Compose that is installed, as a command and its first arguments; null when there is none. */
async function findCompose(): Promise<readonly [string, ...string[]] | null> {
  for (const candidate of [['docker', 'compose'], ['docker-compose']] as const) {
    const [command, ...args] = candidate;
    const answered = await promisify(execFile)(command, [...args, 'version']).then(
      () => true,
      () => false,
    );
    if (answered) return [command, ...args];
  }
  return null;
}

const installed = await findCompose();

describe.runIf(installed)('docker-compose config', () => {
  async function config(secrets: readonly string[]): Promise<string> {
    const folder = await mkdtemp(path.join(tmpdir(), 'asyncly-compose-'));
    try {
      await cp(path.join(root, 'docker-compose.yml'), path.join(folder, 'docker-compose.yml'));
      await writeFile(
        path.join(folder, '.env'),
        secrets.map((name) => `${name}=${'5'.repeat(64)}\n`).join(''),
      );
      const [command, ...args] = installed!;
      const { PATH, HOME } = process.env;
      const { stdout } = await promisify(execFile)(command, [...args, 'config'], {
        cwd: folder,
        env: { PATH, HOME },
      });
      return stdout;
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  test('takes the file', async () => {
    expect(await config(SECRETS)).toContain('service_completed_successfully');
  });

  test.each(SECRETS)('refuses without %s', async (missing) => {
    await expect(config(SECRETS.filter((name) => name !== missing))).rejects.toThrow(/set it in .env/);
  });
});

describe('Dockerfile', () => {
  test('has nothing that the linter minds', () => {
    expect(validate(dockerfile)).toEqual([]);
  });

  test('copies what there is, and what the build context has', () => {
    const taken = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, files = '']) =>
      files.split(' '),
    );
    const context = text('.dockerignore').split('\n');
    expect(taken.length).toBeGreaterThan(0);
    for (const file of taken) {
      expect(existsSync(path.join(root, file)), file).toBe(true);
      expect(context).toContain(`!${file}`);
    }
    expect(
      context
        .filter((line) => line.startsWith('!'))
        .map((line) => line.slice(1))
        .sort(),
    ).toEqual([...new Set(taken)].sort());
  });

  test('runs one version of Node, without root, on what production needs', () => {
    const stages = dockerfile.match(/^FROM \S+/gm) ?? [];
    expect(new Set(stages).size).toBe(1);
    expect(stages[0]).toMatch(/node:\d+\.\d+\.\d+-\w+-slim$/);
    const last = dockerfile.slice(dockerfile.lastIndexOf('\nFROM '));
    expect(last).toMatch(/^USER node$/m);
    expect(last).toMatch(/^STOPSIGNAL SIGTERM$/m);
    expect(last).toMatch(/^CMD \["node", .*"dist\/main\.js"\]$/m);
    expect(dockerfile).toMatch(/npm ci --omit=dev --omit=optional/);
  });
});
