// A service such as a good team could write in a week with grpc-go, net/http and encoding/json. It
// has a rate limit, deadlines, codes by status, a log line for each failed call, and one poll per
// watched session. It has no retries, error details, resume, metrics or drain.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "example.com/facade/gen/gotoassist/remotesupport/v1"
)

const (
	limit = 1 << 20
	poll  = time.Second
)

type facade struct {
	pb.UnimplementedRemoteSupportServiceServer
	upstream string
	client   *http.Client
	limiter  *rate.Limiter

	mutex sync.Mutex
	polls map[string]*shared
}

// A polled session, and its watchers.
type shared struct {
	mutex    sync.Mutex
	last     *pb.Session
	watchers map[chan *pb.Session]struct{}
}

// A session in the vendor's form.
type session struct {
	SessionID             string     `json:"sessionId"`
	SessionType           string     `json:"sessionType"`
	Status                string     `json:"status"`
	AccountKey            string     `json:"accountKey"`
	ExpertName            *string    `json:"expertName"`
	ExpertEmail           *string    `json:"expertEmail"`
	ExpertUserKey         *string    `json:"expertUserKey"`
	PartnerObject         *string    `json:"partnerObject"`
	PartnerObjectURL      *string    `json:"partnerObjectUrl"`
	StartedAt             *time.Time `json:"startedAt"`
	CustomerJoinedAt      *time.Time `json:"customerJoinedAt"`
	EndedAt               *time.Time `json:"endedAt"`
	UnattendedMachineName *string    `json:"unattendedMachineName"`
	UnattendedMachineUUID *string    `json:"unattendedMachineUuid"`
	AccountName           *string    `json:"accountName"`
	CustomerName          *string    `json:"customerName"`
	CustomerEmail         *string    `json:"customerEmail"`
	CustomerJoinURL       *string    `json:"customerJoinUrl"`
	Notes                 *string    `json:"notes"`
	SessionRecordingURL   *string    `json:"sessionRecordingUrl"`
}

var statuses = map[string]pb.SessionStatus{
	"notStarted": pb.SessionStatus_SESSION_STATUS_NOT_STARTED,
	"waiting":    pb.SessionStatus_SESSION_STATUS_WAITING,
	"active":     pb.SessionStatus_SESSION_STATUS_ACTIVE,
	"complete":   pb.SessionStatus_SESSION_STATUS_COMPLETE,
	"abandoned":  pb.SessionStatus_SESSION_STATUS_ABANDONED,
}

func (s *session) proto() *pb.Session {
	at := func(at *time.Time) *timestamppb.Timestamp {
		if at == nil {
			return nil
		}
		return timestamppb.New(*at)
	}
	return &pb.Session{
		SessionId: s.SessionID, SessionType: s.SessionType, Status: statuses[s.Status],
		UpstreamStatus: s.Status, AccountKey: s.AccountKey, ExpertName: s.ExpertName,
		ExpertEmail: s.ExpertEmail, ExpertUserKey: s.ExpertUserKey, PartnerObject: s.PartnerObject,
		PartnerObjectUrl: s.PartnerObjectURL, StartedAt: at(s.StartedAt),
		CustomerJoinedAt: at(s.CustomerJoinedAt), EndedAt: at(s.EndedAt),
		UnattendedMachineName: s.UnattendedMachineName, UnattendedMachineUuid: s.UnattendedMachineUUID,
		AccountName: s.AccountName, CustomerName: s.CustomerName, CustomerEmail: s.CustomerEmail,
		CustomerJoinUrl: s.CustomerJoinURL, Notes: s.Notes, SessionRecordingUrl: s.SessionRecordingURL,
	}
}

func (f *facade) get(ctx context.Context, id, authorization string) (*pb.Session, error) {
	if id == "" {
		return nil, status.Error(codes.InvalidArgument, "session_id is required")
	}
	if err := f.limiter.Wait(ctx); err != nil {
		return nil, status.Error(codes.ResourceExhausted, "the quota is used up")
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, f.upstream+"/sessions/"+url.PathEscape(id), nil)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "session_id cannot be asked for")
	}
	request.Header.Set("Authorization", authorization)
	request.Header.Set("Accept", "application/json")
	response, err := f.client.Do(request)
	if err != nil {
		if ctx.Err() != nil {
			return nil, status.FromContextError(ctx.Err()).Err()
		}
		return nil, status.Error(codes.Unavailable, "GoToAssist does not answer")
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, limit))
	if err != nil {
		return nil, status.Error(codes.Unavailable, "GoToAssist broke off")
	}
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized:
		return nil, status.Error(codes.Unauthenticated, "GoToAssist refuses the token")
	case http.StatusForbidden:
		return nil, status.Error(codes.PermissionDenied, "GoToAssist does not allow it")
	case http.StatusNotFound:
		return nil, status.Error(codes.NotFound, "no such session")
	case http.StatusTooManyRequests:
		return nil, status.Error(codes.ResourceExhausted, "GoToAssist is asked too often")
	default:
		return nil, status.Errorf(codes.Unavailable, "GoToAssist answers %d", response.StatusCode)
	}
	var read session
	if err := json.Unmarshal(body, &read); err != nil {
		return nil, status.Error(codes.Internal, "GoToAssist's answer is no session")
	}
	return read.proto(), nil
}

func credential(ctx context.Context) (string, error) {
	values := metadata.ValueFromIncomingContext(ctx, "authorization")
	if len(values) != 1 {
		return "", status.Error(codes.Unauthenticated, "authorization is required")
	}
	return values[0], nil
}

func (f *facade) GetSession(ctx context.Context, request *pb.GetSessionRequest) (*pb.GetSessionResponse, error) {
	authorization, err := credential(ctx)
	if err != nil {
		return nil, err
	}
	read, err := f.get(ctx, request.SessionId, authorization)
	if err != nil {
		return nil, err
	}
	return &pb.GetSessionResponse{Session: read, ObservedAt: timestamppb.Now()}, nil
}

func (f *facade) WatchSession(request *pb.WatchSessionRequest, stream grpc.ServerStreamingServer[pb.WatchSessionResponse]) error {
	authorization, err := credential(stream.Context())
	if err != nil {
		return err
	}
	poll, err := f.poll(stream.Context(), request.SessionId, authorization)
	if err != nil {
		return err
	}
	changes := make(chan *pb.Session, 1)
	first := poll.join(changes)
	defer poll.leave(changes)
	message := &pb.WatchSessionResponse{
		EventType: pb.WatchSessionResponse_EVENT_TYPE_SNAPSHOT, Session: first, ObservedAt: timestamppb.Now(),
	}
	for {
		if err := stream.Send(message); err != nil {
			return err
		}
		select {
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		case change := <-changes:
			message = &pb.WatchSessionResponse{
				EventType: pb.WatchSessionResponse_EVENT_TYPE_CHANGED, Session: change, ObservedAt: timestamppb.Now(),
				ChangedFields: &fieldmaskpb.FieldMask{Paths: []string{"notes"}},
			}
		}
	}
}

// Returns the poll of a session with a credential, and starts it if there is none.
func (f *facade) poll(ctx context.Context, id, authorization string) (*shared, error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	key := authorization + "\x00" + id
	if running := f.polls[key]; running != nil {
		return running, nil
	}
	first, err := f.get(ctx, id, authorization)
	if err != nil {
		return nil, err
	}
	begun := &shared{last: first, watchers: map[chan *pb.Session]struct{}{}}
	f.polls[key] = begun
	go func() {
		for range time.Tick(poll) {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			if read, err := f.get(ctx, id, authorization); err == nil {
				begun.tell(read)
			}
			cancel()
		}
	}()
	return begun, nil
}

func (s *shared) join(changes chan *pb.Session) *pb.Session {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.watchers[changes] = struct{}{}
	return s.last
}

func (s *shared) leave(changes chan *pb.Session) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	delete(s.watchers, changes)
}

func (s *shared) tell(read *pb.Session) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if proto.Equal(s.last, read) {
		return
	}
	s.last = read
	for watcher := range s.watchers {
		select {
		case watcher <- read:
		default: // The watcher has not read the previous update.
		}
	}
}

func logFailures(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	begin := time.Now()
	answer, err := handler(ctx, request)
	if err != nil {
		slog.Warn("call failed", "method", info.FullMethod, "code", status.Code(err), "duration", time.Since(begin))
	}
	return answer, err
}

func main() {
	listen := flag.String("listen", "127.0.0.1:50051", "where to listen")
	upstream := flag.String("upstream-url", "https://api.getgo.com/G2A/rest/v1", "base URL of the vendor")
	flag.Parse()
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 256
	server := grpc.NewServer(grpc.UnaryInterceptor(logFailures), grpc.MaxRecvMsgSize(64<<10), grpc.MaxConcurrentStreams(1000))
	pb.RegisterRemoteSupportServiceServer(server, &facade{
		upstream: *upstream,
		client:   &http.Client{Transport: transport, Timeout: 10 * time.Second},
		limiter:  rate.NewLimiter(1_000_000, 1_000_000),
		polls:    map[string]*shared{},
	})
	if err := server.Serve(listener); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
