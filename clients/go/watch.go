package main

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "example.com/gotoassist-client/gen/gotoassist/remotesupport/v1"
)

const (
	firstDelay   = 500 * time.Millisecond
	longestDelay = 30 * time.Second
)

// watch shows every message of a session until the session is over. If a stream ends earlier, a new
// stream continues after the last message, so no message is lost or repeated.
func watch(ctx context.Context, client pb.RemoteSupportServiceClient, sessionID string, show func(proto.Message)) error {
	request := &pb.WatchSessionRequest{SessionId: sessionID}
	delay := firstDelay
	for {
		err := follow(ctx, client, request, func(message *pb.WatchSessionResponse) {
			show(message)
			request.ResumeToken = message.GetResumeToken()
			delay = firstDelay
		})
		if err == nil || !worthResuming(err) {
			return err
		}
		if err := wait(ctx, err, &delay); err != nil {
			return err
		}
	}
}

// wait waits until the next stream may begin: as long as the service asks, or a growing delay.
func wait(ctx context.Context, err error, delay *time.Duration) error {
	pause, found := retryDelay(err)
	if !found {
		pause = time.Duration(rand.Int64N(int64(*delay)))
		*delay = min(2**delay, longestDelay)
	}
	select {
	case <-time.After(pause):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// follow reads one stream. It ends with OK if and only if the last message was terminal.
func follow(ctx context.Context, client pb.RemoteSupportServiceClient, request *pb.WatchSessionRequest, each func(*pb.WatchSessionResponse)) error {
	ctx = withSession(ctx, request.GetSessionId())
	ctx, cancel := context.WithTimeout(ctx, time.Hour) // after it, the watch resumes
	defer cancel()
	stream, err := client.WatchSession(ctx, request)
	if err != nil {
		return err
	}
	return receive(stream.Recv, func(message *pb.WatchSessionResponse) error {
		each(message)
		return nil
	})
}

// receive reads a stream to its end. An error of each ends it too.
func receive[M any](next func() (M, error), each func(M) error) error {
	for {
		message, err := next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := each(message); err != nil {
			return err
		}
	}
}

func worthResuming(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.ResourceExhausted, codes.DeadlineExceeded, codes.Aborted:
		return true
	case codes.Internal, codes.Unknown, codes.Canceled:
		return !isFromService(err)
	default:
		return false
	}
}
