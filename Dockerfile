# syntax=docker/dockerfile:1

# Node 24 LTS.
FROM node:24.19.0-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=optional --ignore-scripts --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
RUN npm run build && chmod +x dist/cli/asyncly.js

# What runs needs neither compilers nor the embedded Postgres, whose packages are the optional ones.
FROM node:24.19.0-bookworm-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund

FROM node:24.19.0-bookworm-slim
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Asyncly" \
      org.opencontainers.image.description="Background jobs as a service, event-sourced inside" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENV NODE_ENV=production
WORKDIR /app
COPY --from=dependencies /app/node_modules ./node_modules
COPY package.json LICENSE ./
COPY migrations ./migrations
COPY --from=build /app/dist ./dist
RUN ln -s /app/dist/cli/asyncly.js /usr/local/bin/asyncly
# Everything above belongs to root: the service cannot change its own code.
USER node
EXPOSE 3000
STOPSIGNAL SIGTERM
# Asks for the ROLES of this container, with its own environment: see `asyncly health --help`.
HEALTHCHECK --interval=30s --timeout=15s --start-period=60s --retries=3 CMD ["asyncly", "health"]
# The exec form: signals reach node, which stops in order.
CMD ["node", "--enable-source-maps", "dist/main.js"]
