package main

import (
	"encoding/json"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
)

// failure is the content of an error of the service, besides its code.
type failure struct {
	Code       string            `json:"code"`
	Message    string            `json:"message"`
	Reason     string            `json:"reason,omitempty"`
	Metadata   map[string]string `json:"metadata,omitempty"`
	RetryDelay *float64          `json:"retryDelaySeconds,omitempty"`
	Violations map[string]string `json:"violations,omitempty"`
}

func describe(err error) string {
	converted := status.Convert(err)
	failure := failure{Code: code.Code(converted.Code()).String(), Message: converted.Message()}
	for _, detail := range converted.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			failure.Reason, failure.Metadata = detail.GetReason(), detail.GetMetadata()
		case *errdetails.RetryInfo:
			seconds := detail.GetRetryDelay().AsDuration().Seconds()
			failure.RetryDelay = &seconds
		case *errdetails.BadRequest:
			failure.Violations = map[string]string{}
			for _, violation := range detail.GetFieldViolations() {
				failure.Violations[violation.GetField()] = violation.GetDescription()
			}
		}
	}
	line, _ := json.Marshal(map[string]any{"error": failure})
	return string(line)
}

// isFromService reports whether an error comes from the service, which always adds a reason. The
// error of a broken connection has no reason.
func isFromService(err error) bool {
	for _, detail := range status.Convert(err).Details() {
		if _, ok := detail.(*errdetails.ErrorInfo); ok {
			return true
		}
	}
	return false
}

// retryDelay returns how long the service asks to wait, if it does.
func retryDelay(err error) (time.Duration, bool) {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			return info.GetRetryDelay().AsDuration(), true
		}
	}
	return 0, false
}
