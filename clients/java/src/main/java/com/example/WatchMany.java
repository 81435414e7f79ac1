package com.example;

import com.google.rpc.Status;
import com.gotoassist.remotesupport.v1.RemoteSupportServiceGrpc.RemoteSupportServiceBlockingV2Stub;
import com.gotoassist.remotesupport.v1.WatchSessionRequest;
import com.gotoassist.remotesupport.v1.WatchSessionsRequest;
import com.gotoassist.remotesupport.v1.WatchSessionsResponse;
import io.grpc.StatusException;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.BlockingClientCall;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;

/** Watches of many sessions on one stream, which continue until all sessions have ended. */
final class WatchMany {
  private final Map<String, WatchSessionRequest> requests = new LinkedHashMap<>();
  private final Consumer<WatchSessionsResponse> show;
  private boolean allOk = true;
  private long delay = Watch.FIRST_DELAY;

  private WatchMany(Consumer<WatchSessionsResponse> show) {
    this.show = show;
  }

  /**
   * Shows every message of many sessions, on one stream, until all of them have ended. After any
   * other end of the stream, a new one goes on with each session after its last message. Returns
   * whether every session ended with OK.
   */
  static boolean untilAllAreOver(
      RemoteSupportServiceBlockingV2Stub service,
      List<String> sessionIds,
      Consumer<WatchSessionsResponse> show)
      throws InterruptedException, StatusException {
    var watch = new WatchMany(show);
    for (String id : sessionIds) {
      watch.requests.put(id, WatchSessionRequest.newBuilder().setSessionId(id).build());
    }
    while (!watch.requests.isEmpty()) {
      try {
        watch.follow(service);
      } catch (StatusException error) {
        watch.pause(error);
      }
    }
    return watch.allOk;
  }

  /** Reads one stream. It ends when the last session has, because the client's side is closed. */
  private void follow(RemoteSupportServiceBlockingV2Stub service)
      throws InterruptedException, StatusException {
    BlockingClientCall<WatchSessionsRequest, WatchSessionsResponse> stream =
        // After an hour the stream ends, and the watches resume.
        service.withDeadlineAfter(1, TimeUnit.HOURS).watchSessions();
    try {
      var add = WatchSessionsRequest.Add.newBuilder().addAllSessions(requests.values());
      stream.write(WatchSessionsRequest.newBuilder().setAdd(add).build());
      stream.halfClose();
      for (var message = stream.read(); message != null; message = stream.read()) {
        take(message);
      }
    } finally {
      stream.cancel("the stream is not read any more", null);
    }
  }

  private void take(WatchSessionsResponse message) throws StatusException {
    String id = message.getSessionId();
    if (message.hasEnded()) {
      Status ended = message.getEnded();
      StatusException error = StatusProto.toStatusException(ended);
      if (isWorthResuming(error)) {
        throw error; // to begin again with all sessions, this one too
      }
      allOk &= error.getStatus().isOk();
      requests.remove(id);
    }
    show.accept(message);
    if (message.hasUpdate()) {
      String token = message.getUpdate().getResumeToken();
      requests.computeIfPresent(
          id, (name, request) -> request.toBuilder().setResumeToken(token).build());
    }
    delay = Watch.FIRST_DELAY;
  }

  private void pause(StatusException error) throws InterruptedException, StatusException {
    if (!isWorthResuming(error)) {
      throw error;
    }
    Duration asked = failure(error).retryDelay();
    if (asked != null) {
      Thread.sleep(asked.toMillis());
    } else {
      Thread.sleep(ThreadLocalRandom.current().nextLong(delay));
      delay = Math.min(2 * delay, Watch.LONGEST_DELAY);
    }
  }

  private static boolean isWorthResuming(StatusException error) {
    return Watch.isWorthResuming(error.getStatus().getCode(), failure(error));
  }

  private static Failure failure(StatusException error) {
    return Failure.of(error.getStatus().asRuntimeException(error.getTrailers()));
  }
}
