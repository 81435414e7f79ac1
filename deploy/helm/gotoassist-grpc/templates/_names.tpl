{{- define "gotoassist-grpc.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "gotoassist-grpc.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "gotoassist-grpc.labels" -}}
{{ include "gotoassist-grpc.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "gotoassist-grpc.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "gotoassist-grpc.name" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end -}}

{{- define "gotoassist-grpc.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- /* The share of one replica in the vendor's quota. During a rollout there is one more replica. The
replicas of a fleet share the whole quota. */ -}}
{{- define "gotoassist-grpc.share" -}}
{{- if .Values.fleet.existingSecret -}}
{{- .Values.upstream.requestsPerSecond -}}
{{- else -}}
{{- $replicas := ternary .Values.autoscaling.maxReplicas .Values.replicas .Values.autoscaling.enabled | int -}}
{{- $share := div (int .Values.upstream.requestsPerSecond) $replicas -}}
{{- if lt (int $share) 1 -}}
{{- fail (printf "upstream.requestsPerSecond (%v) does not give each of %d replicas a request a second" .Values.upstream.requestsPerSecond $replicas) -}}
{{- end -}}
{{- $share -}}
{{- end -}}
{{- end -}}

{{- /* Kubernetes cannot use gRPC health checks through TLS or past Linkerd's policy. */ -}}
{{- define "gotoassist-grpc.ready" -}}
{{- if or .Values.tls.existingSecret .Values.linkerd.enabled -}}
httpGet: { path: /readyz, port: admin }
{{- else -}}
grpc: { port: 50051 }
{{- end -}}
{{- end -}}

{{- /* Checks the rules of `serve` before the deployment. */ -}}
{{- define "gotoassist-grpc.check" -}}
{{- $credentials := .Values.credentials -}}
{{- $callers := .Values.callers -}}
{{- if not .Values.image.repository -}}
{{- fail "image.repository must be set: build the image with `docker build`, and push it to a registry of yours" -}}
{{- end -}}
{{- if and .Values.gateway.enabled (not .Values.gateway.parentRefs) -}}
{{- fail "gateway.enabled needs gateway.parentRefs" -}}
{{- end -}}
{{- if and $credentials.refreshTokenClaim (or .Values.autoscaling.enabled (gt (int .Values.replicas) 1)) -}}
{{- fail "credentials.refreshTokenClaim allows one replica, because only one process may refresh the token: set replicas to 1" -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- if hasPrefix "GOTOASSIST_" .name -}}
{{- fail (printf "extraEnv: %s belongs into settings, or another value of the chart sets it" .name) -}}
{{- end -}}
{{- end -}}
{{- if ge (int .Values.drain.delaySeconds) (int .Values.drain.graceSeconds) -}}
{{- fail "drain.delaySeconds must be less than drain.graceSeconds" -}}
{{- end -}}
{{- if eq $credentials.mode "service" -}}
{{- if not (and $credentials.clientId $credentials.existingSecret) -}}
{{- fail "credentials.mode service needs credentials.clientId and credentials.existingSecret" -}}
{{- end -}}
{{- if not (or $callers.trustNetwork $callers.tokensSecret $callers.allowClients) -}}
{{- fail "credentials.mode service needs one of callers.trustNetwork, callers.tokensSecret and callers.allowClients" -}}
{{- end -}}
{{- if and $callers.tokensSecret $callers.allowClients -}}
{{- fail "only one of callers.tokensSecret and callers.allowClients can be used" -}}
{{- end -}}
{{- else if or $credentials.clientId $credentials.existingSecret $callers.tokensSecret $callers.allowClients -}}
{{- fail "credentials.clientId, credentials.existingSecret and callers need credentials.mode service" -}}
{{- end -}}
{{- if and (or .Values.fleet.user .Values.fleet.ownAuthority) (not .Values.fleet.existingSecret) -}}
{{- fail "fleet.user and fleet.ownAuthority need fleet.existingSecret" -}}
{{- end -}}
{{- if and .Values.fleet.existingSecret (ne .Values.upstream.quotaScope "process") -}}
{{- fail "fleet.existingSecret needs upstream.quotaScope process" -}}
{{- end -}}
{{- with .Values.callback -}}
{{- if and .ingress.enabled (not (and .existingSecret .ingress.host .ingress.tlsSecret)) -}}
{{- fail "callback.ingress needs callback.existingSecret, callback.ingress.host and callback.ingress.tlsSecret" -}}
{{- end -}}
{{- end -}}
{{- if and $callers.allowClients (not .Values.tls.existingSecret) -}}
{{- fail "callers.allowClients needs tls.existingSecret" -}}
{{- end -}}
{{- end -}}
