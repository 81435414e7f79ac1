package com.example;

import com.google.gson.Gson;
import com.google.gson.reflect.TypeToken;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.MessageOrBuilder;
import com.google.protobuf.TypeRegistry;
import com.google.protobuf.util.JsonFormat;
import com.google.rpc.ErrorDetailsProto;
import com.gotoassist.remotesupport.v1.GetSessionRequest;
import com.gotoassist.remotesupport.v1.ListSystemLinksRequest;
import com.gotoassist.remotesupport.v1.RemoteSupportServiceGrpc;
import com.gotoassist.remotesupport.v1.RemoteSupportServiceGrpc.RemoteSupportServiceBlockingStub;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.StatusException;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.MetadataUtils;
import java.io.IOException;
import java.io.PrintStream;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/**
 * A client of gotoassist-grpc: one session, the links of a domain, or watches that resume by
 * themselves. It prints proto3 JSON, one message a line.
 */
public final class Client {
  // The types that a google.protobuf.Any (stale_cause.details) may hold.
  private static final JsonFormat.Printer JSON =
      JsonFormat.printer()
          .omittingInsignificantWhitespace()
          .usingTypeRegistry(
              TypeRegistry.newBuilder()
                  .add(ErrorDetailsProto.getDescriptor().getMessageTypes())
                  .build());

  private static final Metadata.Key<String> SESSION_ID =
      Metadata.Key.of("session-id", Metadata.ASCII_STRING_MARSHALLER);

  private static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);

  public static void main(String[] arguments) throws IOException, InterruptedException {
    if (arguments.length < 2) {
      System.err.println("usage: client {get|watch|watch-many} SESSION... | links DOMAIN...");
      System.exit(2);
    }
    ManagedChannel channel = connect();
    var service =
        RemoteSupportServiceGrpc.newBlockingStub(channel)
            .withCallCredentials(new AccessToken(System.getenv("GOTOASSIST_TOKEN")));
    List<String> names = List.of(arguments).subList(1, arguments.length);
    boolean failed = false;
    if (arguments[0].equals("watch-many")) {
      failed = !watchMany(channel, names);
      names = List.of();
    }
    for (String name : names) {
      try {
        call(service, arguments[0], name);
      } catch (StatusRuntimeException error) {
        OUT.println(Failure.of(error).toJson());
        failed = true;
      }
    }
    channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
    System.exit(failed ? 1 : 0);
  }

  private static void call(RemoteSupportServiceBlockingStub service, String command, String name)
      throws InterruptedException {
    switch (command) {
      case "get" -> {
        var request = GetSessionRequest.newBuilder().setSessionId(name).build();
        show(naming(name, service).withDeadlineAfter(10, TimeUnit.SECONDS).getSession(request));
      }
      case "links" -> {
        var request = ListSystemLinksRequest.newBuilder().setSystemDomain(name).build();
        show(service.withDeadlineAfter(10, TimeUnit.SECONDS).listSystemLinks(request));
      }
      case "watch" -> Watch.untilOver(service, name, Client::show);
      default -> throw new IllegalArgumentException("unknown command " + command);
    }
  }

  /** Returns whether every session ended with OK. */
  private static boolean watchMany(ManagedChannel channel, List<String> sessionIds)
      throws InterruptedException {
    var service =
        RemoteSupportServiceGrpc.newBlockingV2Stub(channel)
            .withCallCredentials(new AccessToken(System.getenv("GOTOASSIST_TOKEN")));
    try {
      return WatchMany.untilAllAreOver(service, sessionIds, Client::show);
    } catch (StatusException error) {
      OUT.println(Failure.of(error.getStatus().asRuntimeException(error.getTrailers())).toJson());
      return false;
    }
  }

  /**
   * Adds the session to the metadata. A proxy can then route all callers of a session to the same
   * replica, where they share a poll.
   */
  static RemoteSupportServiceBlockingStub naming(
      String sessionId, RemoteSupportServiceBlockingStub service) {
    Metadata metadata = new Metadata();
    metadata.put(SESSION_ID, URLEncoder.encode(sessionId, StandardCharsets.UTF_8));
    return service.withInterceptors(MetadataUtils.newAttachHeadersInterceptor(metadata));
  }

  private static ManagedChannel connect() throws IOException {
    // Use TlsChannelCredentials.create() if the service is not on this machine.
    var builder =
        Grpc.newChannelBuilder(
                System.getenv("GOTOASSIST_SERVER"), InsecureChannelCredentials.create())
            // Pings detect a server that has vanished.
            .keepAliveTime(30, TimeUnit.SECONDS)
            .keepAliveTimeout(10, TimeUnit.SECONDS);
    String path = System.getenv("GOTOASSIST_SERVICE_CONFIG");
    if (path != null) {
      Map<String, ?> config =
          new Gson().fromJson(Files.readString(Path.of(path)), new TypeToken<Map<String, ?>>() {});
      builder.defaultServiceConfig(config).enableRetry();
    }
    return builder.build();
  }

  private static void show(MessageOrBuilder message) {
    try {
      OUT.println(JSON.print(message));
    } catch (InvalidProtocolBufferException error) {
      throw new IllegalStateException(error);
    }
  }
}
