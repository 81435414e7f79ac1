// A client of gotoassist-grpc: one session, the links of a domain, or watches that resume by
// themselves. It prints proto3 JSON, one message a line.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // lets the service config check health
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	pb "example.com/gotoassist-client/gen/gotoassist/remotesupport/v1"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: client {get|watch|watch-many} SESSION... | links DOMAIN...")
		os.Exit(2)
	}
	connection, err := connect()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	defer connection.Close()

	client := pb.NewRemoteSupportServiceClient(connection)
	failed := false
	if os.Args[1] == "watch-many" {
		ended, err := watchMany(context.Background(), client, os.Args[2:], show)
		if err != nil {
			fmt.Println(describe(err))
		}
		if err != nil || !ended {
			os.Exit(1)
		}
		return
	}
	for _, name := range os.Args[2:] {
		if err := call(client, os.Args[1], name); err != nil {
			fmt.Println(describe(err))
			failed = true
		}
	}
	if failed {
		os.Exit(1)
	}
}

func call(client pb.RemoteSupportServiceClient, command, name string) error {
	if command == "watch" {
		return watch(context.Background(), client, name, show)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	switch command {
	case "get":
		response, err := client.GetSession(withSession(ctx, name), &pb.GetSessionRequest{SessionId: name})
		if err != nil {
			return err
		}
		show(response)
	case "links":
		response, err := client.ListSystemLinks(ctx, &pb.ListSystemLinksRequest{SystemDomain: name})
		if err != nil {
			return err
		}
		show(response)
	default:
		return errors.New("unknown command " + command)
	}
	return nil
}

// withSession adds the session to the metadata. A proxy can then route all callers of a session to
// the same replica, where they share a poll.
func withSession(ctx context.Context, sessionID string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "session-id", url.QueryEscape(sessionID))
}

func connect() (*grpc.ClientConn, error) {
	options := []grpc.DialOption{
		// use credentials.NewTLS(&tls.Config{}) if the service is not on this machine
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithPerRPCCredentials(accessToken(os.Getenv("GOTOASSIST_TOKEN"))),
		// Pings detect a server that has vanished.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
	}
	if path := os.Getenv("GOTOASSIST_SERVICE_CONFIG"); path != "" {
		config, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		options = append(options, grpc.WithDefaultServiceConfig(string(config)))
	}
	return grpc.NewClient(os.Getenv("GOTOASSIST_SERVER"), options...)
}

// accessToken sends the vendor's access token with every call.
type accessToken string

func (token accessToken) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(token)}, nil
}

// RequireTransportSecurity must be true if the service is not on this machine.
func (accessToken) RequireTransportSecurity() bool { return false }

func show(message proto.Message) {
	line, err := protojson.Marshal(message)
	if err != nil {
		line = []byte(describe(err))
	}
	fmt.Println(string(line))
}
