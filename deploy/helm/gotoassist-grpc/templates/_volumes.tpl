{{- /* Secrets are files and not variables, because variables show in crash reports, and files can change. */ -}}

{{- define "gotoassist-grpc.volumes" -}}
{{- $secrets := dict
    "credentials" .Values.credentials.existingSecret
    "callers" .Values.callers.tokensSecret
    "callback" .Values.callback.existingSecret
    "fleet" .Values.fleet.existingSecret
    "tls" .Values.tls.existingSecret
    "resume" .Values.resumeKey.existingSecret -}}
{{- $volumes := list -}}
{{- range $name, $secret := $secrets -}}
{{- if $secret -}}
{{- $volumes = append $volumes (dict "name" $name "secret" (dict "secretName" $secret "defaultMode" 288)) -}}
{{- end -}}
{{- end -}}
{{- with .Values.credentials.refreshTokenClaim -}}
{{- $volumes = append $volumes (dict "name" "refresh-token" "persistentVolumeClaim" (dict "claimName" .)) -}}
{{- end -}}
{{- toYaml (concat $volumes .Values.extraVolumes) -}}
{{- end -}}

{{- define "gotoassist-grpc.mounts" -}}
{{- $secrets := dict
    "credentials" .Values.credentials.existingSecret
    "callers" .Values.callers.tokensSecret
    "callback" .Values.callback.existingSecret
    "fleet" .Values.fleet.existingSecret
    "tls" .Values.tls.existingSecret
    "resume" .Values.resumeKey.existingSecret -}}
{{- $mounts := list -}}
{{- range $name, $secret := $secrets -}}
{{- if $secret -}}
{{- $mounts = append $mounts (dict "name" $name "mountPath" (printf "/etc/gotoassist/%s" $name) "readOnly" true) -}}
{{- end -}}
{{- end -}}
{{- if .Values.credentials.refreshTokenClaim -}}
{{- $mounts = append $mounts (dict "name" "refresh-token" "mountPath" "/var/lib/gotoassist") -}}
{{- end -}}
{{- toYaml (concat $mounts .Values.extraVolumeMounts) -}}
{{- end -}}
