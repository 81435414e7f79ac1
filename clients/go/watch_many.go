package main

import (
	"context"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "example.com/gotoassist-client/gen/gotoassist/remotesupport/v1"
)

// watchMany shows every message of many sessions, on one stream, until all of them have ended. After
// any other end of the stream, a new one goes on with each session after its last message. It
// returns whether every session ended with OK.
func watchMany(ctx context.Context, client pb.RemoteSupportServiceClient, sessionIDs []string, show func(proto.Message)) (bool, error) {
	requests := map[string]*pb.WatchSessionRequest{}
	for _, id := range sessionIDs {
		requests[id] = &pb.WatchSessionRequest{SessionId: id}
	}
	delay := firstDelay
	allOK := true
	for len(requests) > 0 {
		err := followMany(ctx, client, requests, func(message *pb.WatchSessionsResponse) error {
			id := message.GetSessionId()
			if ended := message.GetEnded(); ended != nil {
				if err := status.FromProto(ended).Err(); err != nil && worthResuming(err) {
					return err // to begin again with all sessions, this one too
				}
				allOK = allOK && codes.Code(ended.GetCode()) == codes.OK
				delete(requests, id)
			}
			show(message)
			if update := message.GetUpdate(); update != nil {
				requests[id].ResumeToken = update.GetResumeToken()
			}
			delay = firstDelay
			return nil
		})
		if err == nil {
			continue
		}
		if !worthResuming(err) {
			return false, err
		}
		if err := wait(ctx, err, &delay); err != nil {
			return false, err
		}
	}
	return allOK, nil
}

// followMany reads one stream. It ends with OK when the last session has ended, because the client's
// side is closed.
func followMany(ctx context.Context, client pb.RemoteSupportServiceClient, requests map[string]*pb.WatchSessionRequest, each func(*pb.WatchSessionsResponse) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Hour) // after it, the watches resume
	defer cancel()
	stream, err := client.WatchSessions(ctx)
	if err != nil {
		return err
	}
	add := &pb.WatchSessionsRequest_Add{Sessions: slices.Collect(maps.Values(requests))}
	action := &pb.WatchSessionsRequest_Add_{Add: add}
	// If the stream has ended already, Recv tells why.
	if err := stream.Send(&pb.WatchSessionsRequest{Action: action}); err == nil {
		stream.CloseSend()
	}
	return receive(stream.Recv, each)
}
