import { createServer } from 'node:http';
import { randomUUID } from 'node:crypto';
import { Queue } from 'bullmq';
import express from 'express';
import type { NextFunction, Request, Response } from 'express';
import { rateLimit } from 'express-rate-limit';
import helmet from 'helmet';
import jwt from 'jsonwebtoken';
import { RedisStore } from 'rate-limit-redis';
import { z } from 'zod';
import { startLive } from './live.ts';
import { accessKey, cacheKey, createPool, createRedis, QUEUE, settings, viewOf } from './settings.ts';
import type { JobRow } from './settings.ts';

const TTL = { running: 60, ended: 300 };

const pool = createPool();
const redis = createRedis();
const queue = new Queue(QUEUE, { connection: createRedis() });

const submission = z.object({
  type: z.string().min(1).max(100),
  payload: z.record(z.string(), z.unknown()),
  webhookUrl: z.url().optional(),
});
const listQuery = z.object({
  page: z.coerce.number().int().min(1).default(1),
  limit: z.coerce.number().int().min(1).max(100).default(10),
  status: z.enum(['PENDING', 'PROCESSING', 'DONE', 'FAILED', 'CANCELLED']).optional(),
});

function authenticate(req: Request, res: Response, next: NextFunction): void {
  const token = /^Bearer (.+)$/.exec(req.headers.authorization ?? '')?.[1];
  try {
    if (token === undefined) throw new Error('none');
    const { sub } = jwt.verify(token, accessKey, { algorithms: ['HS256'] }) as { sub: string };
    res.locals['userId'] = sub;
  } catch {
    res.status(401).json({ success: false, message: 'Access token required' });
    return;
  }
  next();
}
const userOf = (res: Response): string => res.locals['userId'] as string;

const limiter = rateLimit({
  windowMs: 60_000,
  limit: settings.RATE_LIMIT_JOBS_PER_MINUTE,
  keyGenerator: (_req, res) => userOf(res),
  store: new RedisStore({
    sendCommand: (command, ...args) => redis.call(command, ...args) as Promise<never>,
  }),
});

const app = express();
app.disable('x-powered-by');
app.disable('etag');
app.use(helmet());
app.use(express.json({ limit: '512kb' }));
app.get('/healthz', (_req, res) => res.json({ status: 'ok' }));
app.use('/api/jobs', authenticate);

app.post('/api/jobs', limiter, async (req, res) => {
  const parsed = submission.safeParse(req.body);
  if (!parsed.success) {
    res.status(400).json({
      success: false,
      message: 'Validation error',
      errors: z.flattenError(parsed.error).fieldErrors,
    });
    return;
  }
  const { type, payload, webhookUrl } = parsed.data;
  const id = randomUUID();
  const { rows } = await pool.query<Pick<JobRow, 'created_at' | 'updated_at'>>({
    name: 'create',
    text: `INSERT INTO jobs (id, user_id, type, payload, webhook_url, status) VALUES ($1, $2, $3, $4, $5, 'PENDING')
           RETURNING created_at, updated_at`,
    values: [id, userOf(res), type, JSON.stringify(payload), webhookUrl ?? null],
  });
  const job = {
    id,
    user_id: userOf(res),
    type,
    payload,
    webhook_url: webhookUrl ?? null,
    status: 'PENDING',
    result: null,
    error: null,
    ...rows[0]!,
  };
  await queue.add(
    type,
    { jobId: job.id },
    {
      attempts: 3,
      backoff: { type: 'exponential', delay: 1_000 },
      removeOnComplete: true,
      removeOnFail: 1_000,
    },
  );
  res.status(201).json({ success: true, message: 'Job created successfully', data: viewOf(job) });
});

app.get('/api/jobs', async (req, res) => {
  const { page, limit, status } = listQuery.parse(req.query);
  const ofStatus = status === undefined ? '' : 'AND status = $2';
  const filter = [userOf(res), ...(status === undefined ? [] : [status])];
  const [listed, counted] = await Promise.all([
    pool.query<JobRow>({
      name: `list${ofStatus}`,
      text: `SELECT * FROM jobs WHERE user_id = $1 ${ofStatus}
             ORDER BY created_at DESC LIMIT $${filter.length + 1} OFFSET $${filter.length + 2}`,
      values: [...filter, limit, (page - 1) * limit],
    }),
    pool.query<{ total: number }>({
      name: `count${ofStatus}`,
      text: `SELECT count(*)::int AS total FROM jobs WHERE user_id = $1 ${ofStatus}`,
      values: filter,
    }),
  ]);
  const total = counted.rows[0]?.total ?? 0;
  const totalPages = Math.ceil(total / limit);
  res.json({
    success: true,
    message: 'Jobs retrieved successfully',
    data: listed.rows.map(viewOf),
    meta: { total, page, limit, totalPages, hasNextPage: page < totalPages, hasPrevPage: page > 1 },
  });
});

app.get('/api/jobs/:id', async (req, res) => {
  const key = cacheKey(userOf(res), req.params.id);
  // Kept as it is sent.
  const body = (await redis.get(key)) ?? (await load(key, req.params.id, userOf(res)));
  if (body === null) res.status(404).json({ success: false, message: 'Job not found' });
  else res.type('json').send(body);
});

async function load(key: string, id: string, userId: string): Promise<string | null> {
  const { rows } = await pool.query<JobRow>({
    name: 'get',
    text: 'SELECT * FROM jobs WHERE id = $1 AND user_id = $2',
    values: [id, userId],
  });
  const [row] = rows;
  if (!row) return null;
  const body = JSON.stringify({ success: true, message: 'Job retrieved successfully', data: viewOf(row) });
  const ttl = ['DONE', 'FAILED', 'CANCELLED'].includes(row.status) ? TTL.ended : TTL.running;
  await redis.set(key, body, 'EX', ttl);
  return body;
}

const server = createServer(app);
startLive(server, pool);
server.listen(settings.PORT, '127.0.0.1');
