{{- define "featsvc.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* Of the servers alone: nodes of Ray have the other labels too. */}}
{{- define "featsvc.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: server
{{- end }}

{{- define "featsvc.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "featsvc.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* The image's user; it writes to nothing but its volumes. */}}
{{- define "featsvc.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "featsvc.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Flags of the server. Lists are written with commas. */}}
{{- define "featsvc.flags" -}}
- --host=0.0.0.0
- --log-format=json
- --metrics-port=9464
- --metrics-host=0.0.0.0
- --api-key-file=/etc/featsvc/keys/keys.toml
{{- if .Values.tls.secret }}
- --tls-cert=/etc/featsvc/tls/tls.crt
- --tls-key=/etc/featsvc/tls/tls.key
{{- if .Values.tls.clientCa }}
- --tls-client-ca=/etc/featsvc/tls/ca.crt
{{- end }}
{{- end }}
{{- if .Values.weights.claim }}
- --weights-dir=/weights
{{- end }}
{{- if .Values.weights.offline }}
- --offline
{{- end }}
{{- if .Values.ray.enabled }}
- --pool=ray
- --ray-address=auto
- --ray-workers={{ .Values.ray.workers }}
- --gpus-per-worker={{ .Values.ray.gpusPerWorker }}
- --cpus-per-worker={{ .Values.ray.cpusPerWorker }}
{{- end }}
{{- range $flag, $value := .Values.settings }}
{{- if kindIs "bool" $value }}
- {{ printf "--%s%s" (ternary "" "no-" $value) $flag }}
{{- else if kindIs "slice" $value }}
- {{ printf "--%s=%s" $flag (join "," $value) | quote }}
{{- else if kindIs "float64" $value }}
- {{ printf "--%s=%v" $flag (ternary (int64 $value) $value (eq (floor $value) $value)) | quote }}
{{- else }}
- {{ printf "--%s=%v" $flag $value | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* GPUs beside the other resources. */}}
{{- define "featsvc.resources" -}}
{{- $resources := deepCopy .Values.resources }}
{{- if .Values.gpus }}
{{- $_ := set $resources "limits" (merge (dict "nvidia.com/gpu" .Values.gpus) ($resources.limits | default dict)) }}
{{- end }}
{{- toYaml $resources }}
{{- end }}

{{- define "featsvc.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
  - {name: {{ . }}}
{{- end }}
{{- end }}
{{- end }}

{{/* A worker that wants more than a node has never finds a place. Of CPUs KubeRay counts the limit, else the request, in whole ones. */}}
{{- define "featsvc.rayRoom" -}}
{{- $gpus := .Values.gpus | default 0 }}
{{- if gt (float64 .Values.ray.gpusPerWorker) (float64 $gpus) }}
{{- fail (printf "ray.gpusPerWorker: a worker wants %v GPUs and a node has %v (gpus): raise gpus, or lower ray.gpusPerWorker (0 computes on CPUs)" .Values.ray.gpusPerWorker $gpus) }}
{{- end }}
{{- $cpu := dig "limits" "cpu" "" .Values.resources | default (dig "requests" "cpu" "" .Values.resources) | toString }}
{{- if $cpu }}
{{- $cpus := ternary (divf (trimSuffix "m" $cpu) 1000) (float64 $cpu) (hasSuffix "m" $cpu) | ceil }}
{{- if gt (float64 .Values.ray.cpusPerWorker) $cpus }}
{{- fail (printf "ray.cpusPerWorker: a worker wants %v CPUs and a node has %v (resources): raise resources.requests.cpu (or limits.cpu, where it is set), or lower ray.cpusPerWorker" .Values.ray.cpusPerWorker $cpus) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Of all of Ray's processes: who has not the token is refused. */}}
{{- define "featsvc.rayEnv" -}}
- {name: RAY_USAGE_STATS_ENABLED, value: "0"}
- {name: RAY_AUTH_MODE, value: token}
- name: RAY_AUTH_TOKEN
  valueFrom: {secretKeyRef: {name: {{ required "ray.tokenSecret: name a secret whose auth_token is 64 hexadecimal digits (openssl rand -hex 32)" .Values.ray.tokenSecret }}, key: auth_token}}
{{- end }}

{{/* The agent of a node; KubeRay's own probes of older versions want wget, which the image does not have. */}}
{{- define "featsvc.rayProbes" -}}
readinessProbe:
  httpGet: {path: /api/healthz, port: 52365}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 10
livenessProbe:
  httpGet: {path: /api/healthz, port: 52365}
  initialDelaySeconds: 60
  periodSeconds: 10
  timeoutSeconds: 10
  failureThreshold: 12
{{- end }}

{{- define "featsvc.weightMounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: cache, mountPath: /home/featsvc/.cache}
{{- if .Values.weights.claim }}
- {name: weights, mountPath: /weights, readOnly: true}
{{- end }}
{{- end }}

{{- define "featsvc.weightVolumes" -}}
- {name: tmp, emptyDir: {}}
- name: cache
  {{- if .Values.cache.claim }}
  persistentVolumeClaim: {claimName: {{ .Values.cache.claim }}}
  {{- else }}
  emptyDir: {}
  {{- end }}
{{- if .Values.weights.claim }}
- name: weights
  persistentVolumeClaim: {claimName: {{ .Values.weights.claim }}, readOnly: true}
{{- end }}
{{- end }}

{{/* The settings of pods that a cluster's nodes decide about. */}}
{{- define "featsvc.placement" -}}
{{- $given := dict }}
{{- range $name := list "nodeSelector" "tolerations" "affinity" }}
{{- with index $ $name }}{{ $_ := set $given $name . }}{{ end }}
{{- end }}
{{- if $given }}{{ toYaml $given }}{{ end }}
{{- end }}
