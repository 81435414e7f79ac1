package com.example;

import com.gotoassist.remotesupport.v1.RemoteSupportServiceGrpc.RemoteSupportServiceBlockingStub;
import com.gotoassist.remotesupport.v1.WatchSessionRequest;
import com.gotoassist.remotesupport.v1.WatchSessionResponse;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.time.Duration;
import java.util.Set;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;

/** A watch that continues until the session is over. */
final class Watch {
  private static final Set<Status.Code> WORTH_RESUMING =
      Set.of(
          Status.Code.UNAVAILABLE,
          Status.Code.RESOURCE_EXHAUSTED,
          Status.Code.DEADLINE_EXCEEDED,
          Status.Code.ABORTED);
  // The codes of a broken connection. From the service itself they are final.
  private static final Set<Status.Code> WORTH_RESUMING_WITHOUT_REASON =
      Set.of(Status.Code.INTERNAL, Status.Code.UNKNOWN, Status.Code.CANCELLED);
  static final long FIRST_DELAY = 500; // milliseconds
  static final long LONGEST_DELAY = 30_000;

  private Watch() {}

  /**
   * Shows every message of a session until the session is over. If a stream ends earlier, a new
   * stream continues after the last message, so no message is lost or repeated.
   */
  static void untilOver(
      RemoteSupportServiceBlockingStub service,
      String sessionId,
      Consumer<WatchSessionResponse> show)
      throws InterruptedException {
    var request = WatchSessionRequest.newBuilder().setSessionId(sessionId);
    service = Client.naming(sessionId, service);
    long delay = FIRST_DELAY;
    while (true) {
      try {
        // After an hour the stream ends, and the watch resumes.
        var messages =
            service.withDeadlineAfter(1, TimeUnit.HOURS).watchSession(request.build());
        while (messages.hasNext()) {
          WatchSessionResponse message = messages.next();
          show.accept(message);
          request.setResumeToken(message.getResumeToken());
          delay = FIRST_DELAY;
        }
        return; // OK means that the last message was terminal
      } catch (StatusRuntimeException error) {
        Failure failure = Failure.of(error);
        if (!isWorthResuming(error.getStatus().getCode(), failure)) {
          throw error;
        }
        Duration asked = failure.retryDelay();
        if (asked != null) {
          Thread.sleep(asked.toMillis());
        } else {
          Thread.sleep(ThreadLocalRandom.current().nextLong(delay));
          delay = Math.min(2 * delay, LONGEST_DELAY);
        }
      }
    }
  }

  static boolean isWorthResuming(Status.Code code, Failure failure) {
    return WORTH_RESUMING.contains(code)
        || WORTH_RESUMING_WITHOUT_REASON.contains(code) && failure.reason() == null;
  }
}
