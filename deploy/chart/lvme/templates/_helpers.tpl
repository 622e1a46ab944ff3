{{/* Labels of every object. Helm itself adds who manages it. Call with (list $ component). */}}
{{- define "lvme.labels" -}}
{{- $root := index . 0 -}}
{{ include "lvme.selector" . }}
app.kubernetes.io/part-of: lvme
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels that a selector goes by; they never change. */}}
{{- define "lvme.selector" -}}
app.kubernetes.io/name: lvme
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Metadata but for name and namespace. Call with (list $ component). */}}
{{- define "lvme.metadata" -}}
labels:
  {{- include "lvme.labels" . | nindent 2 }}
{{- with (index . 0).Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "lvme.image" -}}
{{- $i := .Values.image -}}
{{- if $i.digest }}{{ $i.repository }}@{{ $i.digest }}{{ else }}{{ $i.repository }}:{{ $i.tag | default .Chart.AppVersion }}{{ end -}}
{{- end }}

{{/* Image of a sidecar. Call with (list $ name values). */}}
{{- define "lvme.sidecarImage" -}}
{{- $root := index . 0 -}}{{- $v := index . 2 -}}
{{- $root.Values.sidecars.registry }}/{{ index . 1 }}{{ if $v.digest }}@{{ $v.digest }}{{ else }}:{{ $v.tag }}{{ end -}}
{{- end }}

{{/* What every sidecar is told. Call with (list $ values). */}}
{{- define "lvme.sidecarArgs" -}}
{{- $root := index . 0 -}}{{- $v := index . 1 -}}
- --csi-address={{ include "lvme.socket" $root }}
- --leader-election
- --timeout={{ $root.Values.timeouts.call }}
- --retry-interval-max={{ $root.Values.timeouts.retryMax }}
- --kube-api-qps={{ $root.Values.kubeAPI.qps }}
- --kube-api-burst={{ $root.Values.kubeAPI.burst }}
- --http-endpoint=:{{ $v.httpPort }}
- -v={{ $root.Values.sidecars.logVerbosity }}
{{- end }}

{{/* What is alike in the containers of the sidecars. Call with (list $ values). */}}
{{- define "lvme.sidecarContainer" -}}
{{- $root := index . 0 -}}{{- $v := index . 1 -}}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
ports:
  - {name: {{ index . 2 }}, containerPort: {{ $v.httpPort }}}
# It answers once it has found the driver. A pod whose sidecars have not is not ready.
startupProbe:
  httpGet: {path: /healthz/leader-election, port: {{ index . 2 }}}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 150
livenessProbe:
  httpGet: {path: /healthz/leader-election, port: {{ index . 2 }}}
  periodSeconds: 20
  timeoutSeconds: 10
  failureThreshold: 3
securityContext:
  {{- include "lvme.unprivileged" $root | nindent 2 }}
resources:
  {{- toYaml $v.resources | nindent 2 }}
volumeMounts:
  - {name: socket, mountPath: /run/lvme}
{{- end }}

{{/* The socket lies in a directory of its own, which lvme makes private. */}}
{{- define "lvme.socket" -}}/run/lvme/csi/csi.sock{{- end }}

{{- define "lvme.unprivileged" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Whether the cluster has, or the values demand, something: (list setting auto). */}}
{{- define "lvme.wanted" -}}
{{- $setting := index . 0 -}}
{{- if or (eq $setting "always") (and (eq $setting "auto") (index . 1)) -}}true{{- end -}}
{{- end }}

{{/* The Secrets with the certificates are not the controller's to make. */}}
{{- define "lvme.tlsFiles" -}}
{{- if ne .Values.tls.mode "internal" -}}true{{- end -}}
{{- end }}
