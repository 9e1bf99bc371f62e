{{- /* The pod, of a Deployment and of a DaemonSet alike. No annotation has a checksum of the configuration: the running
gateway takes a change up, and a new pod would end the sessions of the old one. */ -}}
{{- define "sessile.pod" -}}
metadata:
  labels:
    {{- include "sessile.selector" . | nindent 4 }}
  {{- with .Values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- if include "sessile.follows" . }}
  serviceAccountName: {{ include "sessile.name" . }}
  automountServiceAccountToken: true
  {{- else }}
  automountServiceAccountToken: false
  {{- end }}
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    seccompProfile:
      type: RuntimeDefault
  containers:
  - name: sessile
    image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    args: ["run", "--config", "/etc/sessile/gateway.toml"]
    ports:
    {{- range .Values.service.ports }}
    - name: {{ .name }}
      containerPort: {{ .targetPort }}
      {{- if and (eq $.Values.kind "DaemonSet") $.Values.hostPorts }}
      hostPort: {{ .targetPort }}
      {{- end }}
    {{- end }}
    - name: admin
      containerPort: 9900
    lifecycle:
      preStop:
        sleep:
          seconds: {{ .Values.preStopSeconds }}
    startupProbe:
      httpGet:
        path: /readyz
        port: admin
      periodSeconds: 1
      failureThreshold: 60
    readinessProbe:
      httpGet:
        path: /readyz
        port: admin
      periodSeconds: 2
    livenessProbe:
      httpGet:
        path: /livez
        port: admin
      periodSeconds: 10
      failureThreshold: 6
    resources:
      {{- toYaml .Values.resources | nindent 6 }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities:
        drop: ["ALL"]
    volumeMounts:
    - name: config
      mountPath: /etc/sessile
      readOnly: true
    - name: admin
      mountPath: /etc/sessile-admin
      readOnly: true
    - name: state
      mountPath: /var/lib/sessile
    {{- range .Values.tlsSecrets }}
    - name: tls-{{ . }}
      mountPath: /etc/sessile-tls/{{ . }}
      readOnly: true
    {{- end }}
  volumes:
  - name: config
    configMap:
      name: {{ include "sessile.name" . }}
  - name: admin
    secret:
      secretName: {{ .Values.adminSecret }}
      defaultMode: 0440
  - name: state
    emptyDir: {}
  {{- range .Values.tlsSecrets }}
  - name: tls-{{ . }}
    secret:
      secretName: {{ . }}
      defaultMode: 0440
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if eq .Values.kind "Deployment" }}
  topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "sessile.selector" . | nindent 8 }}
  {{- end }}
{{- end }}
