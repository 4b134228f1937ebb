// What a caller needs; all else that is generated is under "nest-event-logging-client/gen/".
export * from "./gen/events/v1/event_logging_pb.js";
export { BadRequestSchema, RequestInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";
