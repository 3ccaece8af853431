import { createRequire } from 'node:module';
import type * as grpcTypes from '@grpc/grpc-js';
import type * as featuresGrpc from '@eventstore/db-client/generated/serverfeatures_grpc_pb.js';
import type * as featuresPb from '@eventstore/db-client/generated/serverfeatures_pb.js';
import type * as sharedPb from '@eventstore/db-client/generated/shared_pb.js';
import type * as statusPb from '@eventstore/db-client/generated/status_pb.js';
import type * as streamsGrpc from '@eventstore/db-client/generated/streams_grpc_pb.js';
import type * as streamsPb from '@eventstore/db-client/generated/streams_pb.js';
import type * as anyPb from 'google-protobuf/google/protobuf/any_pb.js';

/** Loaded from where the client loads them: messages of another copy of the library would not be recognised. */
const client = createRequire(createRequire(import.meta.url).resolve('@eventstore/db-client'));

export const grpc = client('@grpc/grpc-js') as typeof grpcTypes;
export const streams = client('../generated/streams_pb') as typeof streamsPb;
export const shared = client('../generated/shared_pb') as typeof sharedPb;
export const { StreamsService } = client('../generated/streams_grpc_pb') as typeof streamsGrpc;
export const features = client('../generated/serverfeatures_pb') as typeof featuresPb;
export const { ServerFeaturesService } = client('../generated/serverfeatures_grpc_pb') as typeof featuresGrpc;
export const { Status } = client('../generated/status_pb') as typeof statusPb;
export const { Any } = client('google-protobuf/google/protobuf/any_pb') as typeof anyPb;

export type StreamsServer = streamsGrpc.IStreamsServer;
export type FeaturesServer = featuresGrpc.IServerFeaturesServer;
export type ReadCall = Parameters<StreamsServer['read']>[0];
export type AppendCall = Parameters<StreamsServer['append']>[0];
export type BatchAppendCall = Parameters<StreamsServer['batchAppend']>[0];
export type {
  ReadReq,
  ReadResp,
  AppendReq,
  BatchAppendReq,
} from '@eventstore/db-client/generated/streams_pb.js';

/** A gRPC status with the trailers by which the client tells one error from another. */
export function failure(
  code: grpcTypes.status,
  details: string,
  trailers: Readonly<Record<string, string>> = {},
): grpcTypes.ServiceError {
  const metadata = new grpc.Metadata();
  for (const [key, value] of Object.entries(trailers)) metadata.set(key, value);
  return Object.assign(new Error(details), { code, details, metadata });
}

export function unavailable(): grpcTypes.ServiceError {
  return failure(grpc.status.UNAVAILABLE, 'Server Is Not Ready');
}

export function notLeader(port: number): grpcTypes.ServiceError {
  return failure(grpc.status.NOT_FOUND, 'Leader info available', {
    exception: 'not-leader',
    'leader-endpoint-host': '127.0.0.1',
    'leader-endpoint-port': String(port),
  });
}

export function nameOf(identifier: sharedPb.StreamIdentifier | undefined): string {
  return Buffer.from(identifier?.getStreamName_asU8() ?? []).toString('utf8');
}

export function identifierOf(stream: string): sharedPb.StreamIdentifier {
  return new shared.StreamIdentifier().setStreamName(Uint8Array.from(Buffer.from(stream, 'utf8')));
}
