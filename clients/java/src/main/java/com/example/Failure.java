package com.example;

import com.google.gson.Gson;
import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;

/** The content of an error of the service, besides its code. Missing parts are null. */
record Failure(
    String code,
    String message,
    String reason,
    Map<String, String> metadata,
    Duration retryDelay,
    Map<String, String> violations) {

  static Failure of(StatusRuntimeException error) {
    String reason = null;
    Map<String, String> metadata = null;
    Duration retryDelay = null;
    Map<String, String> violations = null;
    try {
      for (Any detail : StatusProto.fromThrowable(error).getDetailsList()) {
        if (detail.is(ErrorInfo.class)) {
          ErrorInfo info = detail.unpack(ErrorInfo.class);
          reason = info.getReason();
          metadata = info.getMetadataMap().isEmpty() ? null : info.getMetadataMap();
        } else if (detail.is(RetryInfo.class)) {
          var delay = detail.unpack(RetryInfo.class).getRetryDelay();
          retryDelay = Duration.ofSeconds(delay.getSeconds(), delay.getNanos());
        } else if (detail.is(BadRequest.class)) {
          violations = new LinkedHashMap<>();
          for (var violation : detail.unpack(BadRequest.class).getFieldViolationsList()) {
            violations.put(violation.getField(), violation.getDescription());
          }
        }
      }
    } catch (InvalidProtocolBufferException unreadable) {
      // The details only add to the code and the message.
    }
    return new Failure(
        error.getStatus().getCode().name(),
        error.getStatus().getDescription(),
        reason,
        metadata,
        retryDelay,
        violations);
  }

  String toJson() {
    Map<String, Object> failure = new LinkedHashMap<>();
    failure.put("code", code);
    failure.put("message", message);
    failure.put("reason", reason);
    failure.put("metadata", metadata);
    failure.put("retryDelaySeconds", retryDelay == null ? null : retryDelay.toNanos() / 1e9);
    failure.put("violations", violations);
    return new Gson().toJson(Map.of("error", failure)); // leaves out what is null
  }
}
